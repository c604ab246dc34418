"""A user's mistake is one line with the value and the fix, a non-zero exit code, and nothing left behind."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from timm.models import build_model_with_cfg

from mgnet_train.cli.main import main
from mgnet_train.config.network import NOT_GIVEN


def _rejection(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main([*arguments])
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    return code, streams.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mgnet_2_2_c32"], "unknown model 'mgnet_2_2_c32': did you mean mgnet_2_2_c32_bl"),
        (["mgnet_2_2_2_2_c257_bl"], "unknown model 'mgnet_2_2_2_2_c257_bl': did you mean mgnet_2_2_2_2_c256_bl"),
        (["mgnet_2_2_2_2_c257_bl"], 'is written in the notation, as "MgNet[2,2,2,2]-[257]-B^l"'),
        (["MgNet[2,2]-[32]-B^l", "--model-arg", 'stem="big"'], "stem='big' is unknown: use cifar or imagenet"),
        (["resnet19"], "unknown model 'resnet19': did you mean resnet18"),
        (["MgNet[2,2-[32]-B^l"], "malformed notation 'MgNet[2,2-[32]-B^l'"),
        (["MgNet[2,2]-[32,64,128]-B^l"], "has 3 entries for 2 grids"),
        (["MgNet[0,2]-[32]-B^l"], "nu=0"),
        (["MgNet[2,2,2,2,2]-[8]-B^l"], "image of 8x8 pixels is too small for the 5 grids"),
        (["--data", "digit"], "unknown data set 'digit': did you mean digits?"),
        (["--recipe", "paper-v2"], "recipe 'paper-v2' says nothing about digits: choose one of digits, modern"),
        (["--lr", "fast"], "recipe field lr='fast'"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "tpu"], "'tpu'"),
        (["gdfi_lin_both", "--form", "feature"], "form=feature: GDFI has one form only, use form=residual"),
        (["--form", "feature", "--recompute", "full"], "recompute=full is implemented for the residual form alone"),
        (["--batchnorm", "sync", "--recompute", "full"], "use batchnorm=averaged or recompute=none"),
        (["--seed", "-1"], "seed=-1 is outside 0..2**63-1"),
        (["--model-arg", "pretrained=true"], "model argument pretrained cannot be given"),
        (["--model-arg", "num_classes=5"], "num_classes cannot be given: the data set decides it"),
    ],
)
def test_a_wrong_argument_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, line = _rejection(capsys, "fit", *arguments, "--runs", str(tmp_path / "runs"))
    assert code == 2
    assert message in line
    assert not any((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize("name", sorted(NOT_GIVEN))
@pytest.mark.parametrize("model", ["mgnet_2_2_c32_bl", "MgNet[1,1]-[4]-B^l", "resnet10t"])
def test_an_argument_of_the_model_that_others_decide_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, name: str
) -> None:
    code, line = _rejection(capsys, "fit", model, "--model-arg", f"{name}=true", "--runs", str(tmp_path / "runs"))
    assert code == 2
    assert f"model argument {name} cannot be given: {NOT_GIVEN[name]}, so leave it out" in line
    assert not any((tmp_path / "runs").glob("*"))


def test_every_argument_that_timm_takes_for_itself_is_the_trainers_to_give() -> None:
    """Those of create_model and of what it calls; the others go to the network, which rejects what it does not know."""
    taken = {
        name
        for function in (timm.create_model, build_model_with_cfg)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert taken - set(NOT_GIVEN) == {"variant"}  # an argument of Res-CSC too


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mgnet_2_2_c32_bl", "--model-arg", 'notation="MgNet[1]-[4]-B^l"'], "model argument notation cannot be given: the name"),
        (["mgnet_2_2_c32_bl", "--model-arg", 'stem="imagenet"'], "model argument stem cannot be given: the name of the model"),
        (["MgNet[1]-[4]-B^l", "--model-arg", 'notation="MgNet[2]-[4]-B^l"'], "model argument notation cannot be given: the name"),
        (["--model-arg", "drop_rate=0.1", "--model-arg", "drop_rate=0.2"], "drop_rate is given twice, as 0.1 and 0.2"),
        (["--model-arg", "no_such=1"], "unexpected keyword argument 'no_such'"),
        (["--model-arg", "Num_classes=5"], "unexpected keyword argument 'Num_classes'"),
    ],
)
def test_an_argument_of_the_model_that_would_be_overruled_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, line = _rejection(capsys, "fit", *words, "--runs", str(tmp_path / "runs"))
    assert code == 2
    assert message in line


@pytest.mark.parametrize(
    "words",
    [
        ["--model-arg", "pretrained"],
        ["--model-arg", "=1"],
        ["--model-arg", "num-classes=5"],
        ["--model-arg", "drop_rate=NaN"],
        ["--model-arg", "x=" + "[" * 5000],
        ["--checkpoint-seconds", "nan"],
        ["--checkpoint-seconds", "-1"],
        ["--workers", "-1"],
        ["--workers", "\u00b2"],
    ],
)
def test_a_value_that_is_none_is_rejected_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fit", *words, "--runs", str(tmp_path)])
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    code, line = _rejection(capsys, "fit", "--runs", str(tmp_path / "file" / "runs"))
    assert code == 2
    assert "cannot be written (Not a directory): give another with --runs" in line


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_store_that_does_not_answer_is_rejected_before_anything_is_trained_and_its_password_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = _closed_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    code, line = _rejection(capsys, "fit", "--runs", str(tmp_path))
    assert code == 2
    assert f"MLflow store 'http://...@127.0.0.1:{port}' cannot be used" in line
    assert "Connection refused" in line
    assert "--allow-unreachable-store" in line
    assert "secret" not in line
    assert not any(tmp_path.iterdir())


def test_help_answers_without_importing_torch_timm_or_mlflow() -> None:
    code = (
        "import sys\nfrom mgnet_train.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "sys.exit(', '.join({'torch', 'timm', 'mlflow', 'sklearn', 'torchvision'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["fit", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.stderr.strip() == ""
        assert "usage: mgnet-train" in done.stdout


def test_the_module_and_the_script_are_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mgnet_train", "fit", "--help"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "usage: mgnet-train fit" in done.stdout
