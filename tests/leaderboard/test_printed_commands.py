"""Every command that a page prints is one that its program takes, for the network and the recipe that the page is about."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderboard.conftest import recipe_part
from mgnet_leaderboard import cli
from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.site.pages import model_argument, reproduce_command
from mgnet_leaderboard.store.folder import read_results
from mgnet_records.run_result import recipe_sha256

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
Json = dict[str, Any]


def printed_commands(site: Path) -> Iterator[tuple[str, str]]:
    """Page and command, for every line of code on a page that begins with the name of a program."""
    for page in sorted(site.rglob("*.html")):
        for code in re.findall(r"<code>(.*?)</code>", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in html.unescape(re.sub(r"<[^>]+>", "", code)).splitlines():
                if line.startswith(("mgnet-", "python ", "make ")):
                    yield page.relative_to(site).as_posix(), line.split("   #")[0]


def spec_of(words: list[str]) -> Any:
    """The run that a fit command asks for."""
    from mgnet_train import make_spec
    from mgnet_train.cli.main import _parser
    from mgnet_train.cli.options import execution_of, recipe_overrides

    options = _parser().parse_args(words)
    return make_spec(
        options.model,
        dataset=options.data,
        recipe=options.recipe,
        overrides=recipe_overrides(options),
        seed=options.seed,
        execution=execution_of(options),
        model_args=dict(options.model_arg),
    )


def take(words: list[str]) -> None:
    """Give a command to its program as far as its arguments are checked. Raises what the program raises."""
    import timm

    from mgnet_models import Notation
    from mgnet_verify.cli import parser

    match words:
        case ["mgnet-train", "fit", *_]:
            spec_of(words[1:])
        case ["mgnet-verify", "certify", target, *_]:
            parser().parse_args(words[1:])
            if not target.endswith(".safetensors") and not timm.is_model(target):
                Notation.parse(target)
        case ["mgnet-verify", *rest]:
            parser().parse_args(rest)
        case ["mgnet-leaderboard", *rest]:
            cli.parser().parse_args(rest)
        case _:
            raise AssertionError(f"a page prints {shlex.join(words)}, which no test can try")


@pytest.fixture(scope="module")
def committed_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    assert main(["build", "--results", str(RESULTS), "--records", str(folder / "none"), "--out", str(folder / "site")]) == 0
    return folder / "site"


def test_every_command_on_a_page_of_the_committed_records_is_taken(committed_site: Path) -> None:
    commands = sorted({command for _, command in printed_commands(committed_site)})
    assert len(commands) > 100
    for command in commands:
        take(shlex.split(command))


def changed_recipe(**changes: Any) -> Json:
    return recipe_part("digits+", **changes)


VARIANTS: dict[str, Json] = {
    "as registered": {},
    "a changed recipe": {"recipe": changed_recipe(lr=0.05)},
    "a recipe with nearly all fields changed": {
        "recipe": changed_recipe(
            epochs=12,
            lr=1e-05,
            schedule="cosine",
            milestones=[],
            warmup_epochs=1,
            nesterov=True,
            decay_norm_and_bias=False,
            init="torch",
            flip=True,
            label_smoothing=0.1,
            mixup=0.2,
            ema_decay=0.99,
            batchnorm="sync",
            accumulate=2,
            drop=1.0,
            batch_size=128,
        )
    },
    "a MgNet without a registered name": {
        "model": "mgnet_1_2_c4x5_6x7_bli",
        "model_args": {"in_chans": 1, "num_classes": 10, "notation": "MgNet[1,2]-[(4,5),(6,7)]-B^{l,i}", "stem": "cifar"},
    },
    "a MgNet with the other stem": {
        "model": "mgnet_1_c8_bl_224",
        "model_args": {"in_chans": 1, "num_classes": 10, "notation": "MgNet[1]-[8]-B^l", "stem": "imagenet"},
    },
    "changed arguments": {
        "model": "mgresnet18_al_bl",
        "model_args": {"in_chans": 1, "num_classes": 10, "channels": [8, 16, 32, 64]},
    },
    "a text as an argument": {
        "model": "gdfi_lin_post",
        "model_args": {"in_chans": 1, "num_classes": 10, "notation": "MgNet[2,2,2]-[8,16,32]-B^{l,i}"},
    },
    "the feature form": {"form": "feature"},
    "a recompute mode": {"recompute": "full"},
    "another precision": {"precision": "mixed"},
    "a late seed": {"seed": 2**62},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_command_of_a_record_asks_for_its_network_recipe_and_execution(
    changes: Json, result: Callable[..., Json], measured: Callable[..., Measured]
) -> None:
    execution = {**result()["execution"], **{name: changes[name] for name in ("form", "recompute", "precision") if name in changes}}
    fields = {name: value for name, value in changes.items() if name not in ("form", "recompute", "precision", "seed")}
    record = measured((350,), execution=execution, **fields)
    record = record.model_copy(update={"runs": (record.runs[0].model_copy(update={"seed": changes.get("seed", 0)}),)})
    words = shlex.split(reproduce_command(record))
    take(words)
    spec = spec_of(words[1:])
    assert (spec.network.name, spec.dataset, spec.seed) == (record.model, record.dataset.name, record.runs[0].seed)
    assert spec.network.args == record.model_args
    assert (spec.recipe.name, spec.recipe.sha256) == (record.recipe.name, record.recipe.sha256)
    for name in ("form", "recompute", "precision"):
        assert getattr(spec.execution, name) in (getattr(record.execution, name), "auto")


def test_every_committed_record_has_a_command_that_asks_for_it() -> None:
    records = [record for record in read_results(RESULTS, committed=True) if isinstance(record, Measured)]
    assert len(records) >= 38
    for record in records:
        spec = spec_of(shlex.split(reproduce_command(record))[1:])
        assert (spec.network.name, spec.network.args) == (record.model, record.model_args)
        assert (spec.recipe.name, spec.recipe.sha256) == (record.recipe.name, recipe_sha256(record.recipe.values))
        assert (spec.execution.form, spec.execution.recompute) == (record.execution.form, record.execution.recompute)


def test_a_model_is_given_by_its_name_or_by_its_notation() -> None:
    assert model_argument("mgnet_2_2_c32_bl") == "mgnet_2_2_c32_bl"
    assert model_argument("mgnet_1_2_c4_bl") == "'MgNet[1,2]-[4]-B^l'"
    assert model_argument("rescsc20") == "rescsc20"
