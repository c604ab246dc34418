"""The commands around a run: what they plan, print and refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mgnet_models import table_rows
from mgnet_records.provenance import UNKNOWN
from mgnet_train import InputError, Options, RunSpec, fit
from mgnet_train.cli.main import main
from mgnet_train.config.network import find_network
from mgnet_train.experiments.reproduce import distinct_runs, forward_macs, plan, table_lines
from mgnet_train.experiments.study import STUDIES
from mgnet_train.train.distributed import Processes


def _plan(target: str, seeds: int = 1, **overrides: str) -> list:  # type: ignore[type-arg]
    return plan(target, recipe=None, overrides=overrides, seeds=seeds, code=UNKNOWN, device="cpu")


def test_a_table_is_planned_row_by_row_with_the_versions_own_recipe() -> None:
    planned = _plan("v2/table3", seeds=2)
    assert len(planned) == 32
    assert {spec.recipe.name for row in planned for spec in row.specs} == {"paper-v2"}
    assert len(distinct_runs(planned)) == 64
    assert {spec.recipe.weight_decay for row in _plan("v1/table3") for spec in row.specs} <= {1e-4, 1e-3}


def test_rows_that_print_the_same_network_share_their_runs() -> None:
    both = _plan("v2/table7") + _plan("v2/table10")
    assert len(distinct_runs(both)) < len(both)


def test_every_own_row_of_both_versions_can_be_planned_and_quoted_rows_are_left_out() -> None:
    own = [row for row in table_rows() if not row.quoted]
    assert len(_plan("v1")) + len(_plan("v2")) == len(own)


def test_the_cost_counts_the_multiply_adds_of_the_residual_form() -> None:
    network = find_network("mgnet_2_2_2_2_c256_bl", in_chans=3, num_classes=100)
    assert forward_macs(network, (3, 32, 32)) == 3_602_670_592


@pytest.mark.parametrize(
    "notation, extra, name, entry",
    [
        ("MgNet[2,2]-[32]-B^l", {}, "mgnet_2_2_c32_bl", "mgnet_2_2_c32_bl"),
        ("MgNet[2,2]-[33]-B^l", {}, "mgnet_2_2_c33_bl", "mgnet"),
        ("MgNet[2,2]-[33]-B^l", {"stem": "imagenet"}, "mgnet_2_2_c33_bl_224", "mgnet"),
    ],
)
def test_the_notation_covers_networks_with_and_without_a_name(notation: str, extra: dict[str, str], name: str, entry: str) -> None:
    network = find_network(notation, in_chans=3, num_classes=10, extra=extra)
    assert (network.name, network.entry) == (name, entry)
    assert network.args.get("stem") == (None if entry == name else extra.get("stem", "cifar"))


def test_an_unknown_part_of_the_paper_is_answered_with_near_names() -> None:
    with pytest.raises(InputError, match=r"unknown part of the paper 'v2/tabel3': did you mean v2/table3"):
        _plan("v2/tabel3")


def test_a_dry_run_trains_nothing_and_prints_the_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reproduce", "v2/table2", "--seeds", "2", "--dry-run", "--rate", "1e12", "--runs", str(tmp_path / "runs")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("todo") == 8
    assert "8 runs for 4 rows" in printed
    assert not (tmp_path / "runs").exists()


def test_the_table_prints_reported_against_measured(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    row = replace(_plan("v2/table2")[0], specs=(tiny_spec(), tiny_spec(seed=1)))
    fit(tiny_spec(), quietly, one_process)
    line = table_lines([row], quietly.runs)[1]
    assert "99.49" in line
    assert "1/2" in line


def test_status_tells_a_finished_run_from_an_interrupted_one(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fit(tiny_spec(), quietly, one_process).folder
    other = fit(tiny_spec(seed=1), quietly, one_process).folder
    (other / "result.json").unlink()
    (other / "state.json").write_text('{"status": "running", "epoch": 1}')
    main(["status", "--runs", str(quietly.runs)])
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert lines[folder.name].startswith("finished")
    assert "not all in MLflow" in lines[folder.name]
    assert lines[other.name].startswith("interrupted")


def test_evaluate_counts_what_the_run_counted(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = fit(tiny_spec(), quietly, one_process)
    assert main(["evaluate", str(outcome.folder / "model.safetensors"), "--device", "cpu"]) == 0
    assert f"({outcome.result.test.correct_last} of 360 images)" in capsys.readouterr().out


def test_evaluate_refuses_a_file_that_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"rubbish")
    assert main(["evaluate", str(tmp_path / "x.safetensors"), "--data", "digits"]) == 2
    assert "x.safetensors is not a readable safetensors file" in capsys.readouterr().err


def test_every_arm_of_a_study_can_be_made_and_stands_for_a_row_that_exists() -> None:
    ids = {row.id for row in table_rows()}
    study = STUDIES["digits"]
    for variant in study.variants:
        spec = study.specs(variant, seeds=1, code=UNKNOWN, device="cpu")[0]
        spec.network.make(spec.recipe.init, 0)
        assert variant.row is None or variant.row in ids
    folders = [spec.folder_name for spec in study.plan(groups=None, seeds=1, code=UNKNOWN, device="cpu")]
    assert len(set(folders)) == len(folders) == len(study.variants)


def test_the_command_of_a_study_trains_its_runs_and_says_which_commands_follow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "--group", "forms", "--seeds", "1", "--runs", str(tmp_path), "--track", "later", "--device", "cpu"]
    assert main([*words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("todo  mgnet_2_2_c32_bl-digits-digits-s0-") == 2
    assert "0 of 2 runs are finished" in printed
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert f"study digits: 2 of 2 runs are finished, in {tmp_path}" in printed
    assert f"mgnet-leaderboard ingest {tmp_path}" in printed
    assert "mgnet-leaderboard study" in printed
    suffixes = {path.parent.name.partition("-s0-")[2][8:] for path in tmp_path.glob("*/result.json")}
    assert suffixes == {"", "-feature"}


def test_a_group_that_the_study_does_not_have_is_answered_with_near_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--group", "table11"]) == 2
    assert "unknown group of the study 'table11': did you mean table1" in capsys.readouterr().err
