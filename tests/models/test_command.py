"""`python -m mgnet_models`: its arguments, its help, its exit codes, and how a script runs in it."""

import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch

from mgnet_models.__main__ import main

SMALL = "mgnet_2_2_c32_bl"


def test_the_arguments_are_those_of_the_process_unless_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mgnet_models", SMALL])
    assert main() == 0
    from_process = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["mgnet_models", "something else"])
    assert main([SMALL]) == 0
    assert capsys.readouterr().out == from_process
    assert len(from_process.splitlines()) == 2


def test_without_a_pattern_every_network_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a zoo of two names: all of them take half a minute to count."""
    monkeypatch.setattr("mgnet_models.catalogue.zoo.registered_names", lambda: (SMALL, "rescsc20"))
    assert main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", SMALL, "rescsc20"]


def test_the_help_names_the_command_and_what_else_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    text = capsys.readouterr().out
    assert done.value.code == 0
    assert text.startswith("usage: python -m mgnet_models [-h] [--json] [--grids NAME] [pattern]\n")
    # In the lines in which it is written, with the script on its own.
    assert (
        "\nWith a script instead of a pattern, `python -m mgnet_models validate.py ARGS` runs it with every model registered"
        in text
    )
    assert text.count("knows --device-modules mgnet_models too).\n") == 1
    for explained in ("shell pattern of names", "print a JSON list", "print one network part by part"):
        assert explained in text


def test_the_module_is_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern, code in ((SMALL, 0), ("no such name", 2)):
        monkeypatch.setattr(sys, "argv", ["mgnet_models", pattern])
        monkeypatch.delitem(sys.modules, "mgnet_models.__main__", raising=False)  # imported by the other tests
        with pytest.raises(SystemExit) as done:
            runpy.run_module("mgnet_models", run_name="__main__", alter_sys=False)
        assert done.value.code == code
    assert capsys.readouterr().out.splitlines()[1].startswith(SMALL)


@pytest.mark.parametrize("arguments", [["zzz"], ["--grids", "zzz"]], ids=["table", "grids"])
def test_a_name_like_no_other_is_refused_with_where_to_look(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", "error: no network is named 'zzz': see all names with python -m mgnet_models\n")


def test_three_near_names_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mgresnet18_al_bly"]) == 2
    error = capsys.readouterr().err
    names = error.partition("did you mean ")[2].removesuffix("?\n").split(", ")
    assert names[0] == "mgresnet18_al_bl"
    assert len(names) == 3
    assert all(timm.is_model(name) for name in names)


def test_the_grids_of_a_network_are_counted_without_its_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_rng_state()
    assert main(["--grids", SMALL]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert "grids.1" in capsys.readouterr().out
    assert main(["--grids", "mgnet"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: mgnet needs its configuration")


def test_a_script_imports_what_lies_beside_it_and_gets_its_own_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("HERE = 'beside the script'\n", encoding="utf-8")  # goes before what Python has
    (tmp_path / "script.py").write_text(
        "import sys\nsaved = sys.modules.pop('json', None)\nimport json\nprint(json.HERE, sys.path[0], sys.argv)\n"
        "sys.argv.append('seen')\nif saved: sys.modules['json'] = saved\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "argv", ["anything"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")  # which the command sets for the processes of the script
    arguments = [str(tmp_path / "script.py"), "--grids"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"beside the script {tmp_path} {arguments}\n"
    assert arguments == [str(tmp_path / "script.py"), "--grids"]  # the script got a list of its own
