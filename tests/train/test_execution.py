"""How a run is computed is recorded beside the recipe: it is resolved once, and no part of what is trained."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

import mgnet_train
from mgnet_models import RECOMPUTE_MODES
from mgnet_records.errors import InputError
from mgnet_records.provenance import UNKNOWN
from mgnet_train import Execution, RunSpec, find_recipe, make_spec
from mgnet_train.config.execution import SETTINGS


def _spec(device: str, execution: Execution, **named: Any) -> RunSpec:
    return make_spec("mgnet_2_2_2_2_c256_bl", dataset="cifar100", code=UNKNOWN, device=device, execution=execution, **named)


def test_paper_v2_is_one_recipe_with_one_hash_and_one_identity_on_every_device_with_every_flag() -> None:
    executions = [
        Execution(**dict(zip(SETTINGS, values)))
        for values in product(*(values for values, _ in SETTINGS.values()))
        if "feature" not in values or "none" in values
    ]
    assert len(executions) == 3 * 3 * 3 * 5
    specs = [_spec(device, execution) for device in ("cpu", "cuda") for execution in executions]
    assert {spec.recipe.name for spec in specs} == {"paper-v2"}
    assert {spec.recipe.sha256 for spec in specs} == {find_recipe("paper-v2", dataset="cifar100", model="x").sha256}
    assert len({spec.identity for spec in specs}) == 1


def test_auto_is_resolved_by_device() -> None:
    cpu, cuda = (Execution().resolved(device) for device in ("cpu", "cuda"))
    assert (cpu.precision, cpu.layout, cpu.convolution) == ("deterministic", "channels_last", "winograd")
    assert (cuda.precision, cuda.layout, cuda.convolution) == ("mixed", "channels_last", "direct")
    assert Execution(precision="deterministic").resolved("cuda").layout == "contiguous"


@pytest.mark.parametrize(
    ("device", "execution", "suffix"),
    [
        pytest.param("cpu", Execution(), "", id="default-cpu"),
        pytest.param("cuda", Execution(), "", id="default-cuda"),
        pytest.param("cpu", Execution(precision="deterministic", convolution="winograd"), "", id="default-spelled-out"),
        pytest.param("cpu", Execution(threads=7), "", id="threads"),
        pytest.param("cuda", Execution(precision="deterministic"), "-deterministic-contiguous", id="precision"),
        pytest.param("cpu", Execution(convolution="direct", recompute="full"), "-direct-full", id="two"),
    ],
)
def test_the_folder_names_an_execution_that_is_not_the_default(device: str, execution: Execution, suffix: str) -> None:
    spec = _spec(device, execution)
    assert spec.folder_name == f"mgnet_2_2_2_2_c256_bl-cifar100-paper-v2-s0-{spec.identity[:8]}{suffix}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"precision": "exact"}, r"precision='exact' is unknown: use auto, deterministic, mixed", id="unknown"),
        pytest.param(
            {"form": "feature", "recompute": "full"}, r"recompute=full is .* residual form alone: use form=residual", id="form"
        ),
    ],
)
def test_settings_that_do_not_exist_or_exclude_each_other_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Execution(**settings)


def test_synchronized_batch_statistics_and_recomputation_exclude_each_other_in_one_line() -> None:
    for mode in RECOMPUTE_MODES:
        if mode == "none":
            _spec("cuda", Execution(recompute=mode), overrides={"batchnorm": "sync"})
            continue
        with pytest.raises(InputError, match=rf"^recompute={mode} .*: use batchnorm=averaged or recompute=none$"):
            _spec("cuda", Execution(recompute=mode), overrides={"batchnorm": "sync"})


def test_a_difference_names_both_executions_and_a_network_without_wide_convolutions_is_no_difference() -> None:
    execution = Execution().resolved("cpu")
    record = {"kernel_backend": None, "threads": 1, "processes": 1}
    values = {name: getattr(execution, name) for name in ("device", *SETTINGS)} | record
    first = mgnet_records_execution(values | {"convolution": "direct"})
    assert execution.difference(first) is None
    assert replace(execution, recompute="full").difference(first) == "recompute=none, now recompute=full"
    assert replace(execution, convolution="direct").difference(mgnet_records_execution(values)) == (
        "convolution=winograd, now convolution=direct"
    )


def mgnet_records_execution(values: dict[str, Any]) -> Any:
    from mgnet_records.run_result import Execution as ExecutionRecord

    return ExecutionRecord.model_validate(values)


def test_the_package_shows_exactly_its_public_names_and_each_can_be_imported() -> None:
    assert dir(mgnet_train) == sorted(mgnet_train.__all__)
    for name in mgnet_train.__all__:
        assert getattr(mgnet_train, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        _ = mgnet_train.fitt  # type: ignore[attr-defined]


def test_a_system_without_flock_gets_one_line() -> None:
    code = "import sys; sys.modules['fcntl'] = None; from mgnet_train.cli.main import main; sys.exit(main(['fit']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "mgnet-train fit: mgnet-train needs a POSIX system (it locks run folders by flock): use Linux, macOS or WSL"
    )
