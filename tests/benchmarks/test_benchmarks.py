"""What the benchmarks promise beside their figures: nothing is timed that is not the same function, and the sums are right."""

import copy
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.peak import fma_peak
from benchmarks.same_function import chain_length, check_logits, check_training
from benchmarks.timing import compared, in_turn
from benchmarks.variants import Variant, authors_variant, mgnet, variant
from torch import Tensor

from benchmarks import report
from mgnet_models import MgNet

ROOT = Path(__file__).resolve().parents[2]
NOTATION = "MgNet[2,1]-[6]-B^l"


@pytest.fixture
def model() -> MgNet:
    return mgnet(NOTATION)


def test_every_variant_is_the_same_function(model: MgNet) -> None:
    words = ["feature", "residual", "residual channels_last selective", "residual full", "residual channels_last bf16 sublinear"]
    variants = [variant(model, text) for text in words]
    assert set(check_training(model, variants, size=16)) == set(words)
    assert set(check_logits(model, variants, size=16)) == set(words)


def test_a_word_that_means_nothing_is_named(model: MgNet) -> None:
    with pytest.raises(SystemExit, match="variant 'residual lean': 'lean' is unknown: use feature, residual"):
        variant(model, "residual lean")


def test_another_function_is_not_timed(model: MgNet) -> None:
    wrong = variant(model, "residual")
    with torch.no_grad():
        wrong.network.grids[0].A.weight.mul_(1.001)
    with pytest.raises(SystemExit, match=r"residual: logits differ by .* not timed"):
        check_training(model, [wrong], size=16)
    with pytest.raises(SystemExit, match=r"residual: logits differ by .* not timed"):
        check_logits(model, [wrong], size=16)


def test_another_gradient_is_not_timed(model: MgNet) -> None:
    class OffByAThousandth(Variant):
        def gradients(self) -> dict[str, Tensor]:
            return {name: 1.001 * gradient for name, gradient in super().gradients().items()}

    one = variant(model, "residual")
    wrong = OffByAThousandth(name="residual", network=one.network, forward=one.forward)
    with pytest.raises(SystemExit, match=r"residual: gradients differ by .* not timed"):
        check_training(model, [wrong], size=16)


def test_a_check_leaves_the_network_and_the_default_dtype_as_they_were(model: MgNet) -> None:
    one = variant(model, "residual")
    before = copy.deepcopy(one.network.state_dict())
    check_training(model, [one], size=16)
    torch.testing.assert_close(one.network.state_dict(), before, rtol=0, atol=0)
    assert torch.get_default_dtype() == torch.float32


def test_the_chain_of_the_papers_model_is_that_of_its_29_convolutions_and_23_norms() -> None:
    assert chain_length(mgnet("MgNet[2,2,2,2]-[64]-B^l"), 32) == (29 - 3) * 9 * 64 + 23 * 8 * 32 * 32


def test_ratios_are_taken_within_each_round() -> None:
    rows = compared({"base": [2.0, 4.0, 6.0], "other": [1.0, 1.0, 6.0]})
    assert rows[1].ratios == (2.0, 4.0, 1.0)
    assert (rows[1].ratio, rows[1].median) == (2.0, 1.0)


def test_all_variants_run_once_a_round_and_once_before() -> None:
    calls: list[str] = []
    rows = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert [len(row.seconds) for row in rows] == [2, 2]


def test_a_report_says_on_what_machine_it_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    content = json.loads(report.write("x", [1.5], rounds=3).read_text(encoding="utf-8"))
    assert content["settings"] == {"rounds": 3}
    assert content["results"] == [1.5]
    assert {"cpu", "torch", "threads", "load_average", "commit"} <= set(content["machine"])


def test_a_missing_checkout_is_named(tmp_path: Path, model: MgNet) -> None:
    with pytest.raises(SystemExit, match=r"--authors: no .*mgnet\.py: give the folder of a checkout"):
        authors_variant(tmp_path, model.notation)


COMMANDS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_can_say_what_it_measures(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"benchmarks.{name}").main()
    assert end.value.code == 0
    assert f"python -m benchmarks.{name}" in capsys.readouterr().out


def test_the_fma_peak_is_a_plausible_number(tmp_path: Path) -> None:
    peak = fma_peak(1, tmp_path)
    if not peak:
        pytest.skip("no C compiler")
    assert 0.5 < peak["fp32"] < 10_000


def test_the_gpu_benchmark_says_what_to_do_without_a_gpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("--device cpu --tiny checks the benchmark without one")
