"""The zoo and the summary count what the networks are, and the command prints it."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch

from mgnet_models import summary, zoo
from mgnet_models.__main__ import main
from mgnet_models.catalogue.registry import registered_names

NAME = "mgnet_2_2_2_2_c256_bl"


def test_the_summary_shows_each_grid_with_exact_counts() -> None:
    counts = summary(timm.create_model(NAME, num_classes=100))
    assert (counts.parameters, counts.macs) == (8_301_924, 3_602_670_592)
    assert [part.name for part in counts.parts] == ["stem", "grids.0", "grids.1", "grids.2", "grids.3", "head"]
    assert [part.size for part in counts.parts[1:5]] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    grid = counts.parts[2]
    assert (grid.c_u, grid.c_f, grid.nu, grid.sharing) == (256, 256, 2, "B^l")
    # One A, one B, one Pi and one R of 9 * 256^2, and BatchNorm twice for each iteration and twice for the transfer.
    assert grid.parameters == 4 * 9 * 256**2 + 2 * 256 * (2 * 2 + 2)
    assert grid.macs == (2 * 2 + 2) * 9 * 256**2 * 16**2
    assert "8,301,924" in str(counts)


def test_the_summary_leaves_the_model_alone() -> None:
    model = timm.create_model("mgnet_2_2_c32_bl").train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    summary(model)
    assert model.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_summary_follows_the_image_that_is_given() -> None:
    small, large = (summary(timm.create_model("mgnet_2_2_c32_bl"), (1, size, size)) for size in (8, 16))
    assert large.parameters == small.parameters
    assert large.macs - 320 == 4 * (small.macs - 320)  # all but the classifier grows with the image


def test_the_zoo_lists_every_name_but_the_generic_one() -> None:
    names = [entry.name for entry in zoo("mgnet_2_2_2_*_224")]
    assert names == [name for name in registered_names() if name.startswith("mgnet_2_2_2_") and name.endswith("_224")]
    assert "mgnet" in registered_names()


def test_the_command_prints_the_table_with_the_table_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NAME]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["name", "notation"]
    assert line.split()[:2] == [NAME, "MgNet[2,2,2,2]-[256]-B^l"]
    assert "8,301,924" in line
    assert line.endswith("v2/table4 v2/table5 v2/table7 v2/table8 v2/table10")


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([NAME, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["macs"] == 3_602_670_592
    assert "v2/table7/mgnet_2-2-2-2_c256_B/cifar100" in entry["table_rows"]


def test_the_command_shows_the_grids_of_one_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grids", NAME]) == 0
    assert "grids.3" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["mgnet_2_2_2_2_c257_bl"], ["--grids", "mgnet_2_2_2_2_c257_bl"]], ids=["table", "grids"])
def test_an_unknown_name_is_refused_with_near_names(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no network is named 'mgnet_2_2_2_2_c257_bl': did you mean mgnet_2_2_2_2_c256_bl")
    assert error.count("\n") == 1


def test_the_generic_name_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grids", "mgnet"]) == 2
    assert "mgnet needs its configuration" in capsys.readouterr().err


def test_a_script_runs_with_the_models_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import sys, timm\nprint(sys.argv[1:], timm.is_model({NAME!r}), __name__)\n")
    monkeypatch.setattr(sys, "argv", ["anything"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")  # which the command sets for the processes of the script
    assert main([str(script), "--model", "x"]) == 0
    assert capsys.readouterr().out == "['--model', 'x'] True __main__\n"


def test_a_missing_script_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["anything"])
    assert main(["nothing.py"]) == 2
    assert capsys.readouterr().err == "error: there is no script 'nothing.py': give the path of a Python file\n"
