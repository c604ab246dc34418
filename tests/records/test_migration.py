"""Records of schema 1 become records of the new contract, and nothing is lost. `schema_1/` holds five as they were committed."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "ci"))

from mgnet_records.errors import InputError  # noqa: E402
from migrate_records import migrate_folder, migrate_results  # noqa: E402

OLD = Path(__file__).parent / "schema_1"


def records(folder: Path) -> dict[str, dict[str, Any]]:
    files = [path for path in sorted(folder.rglob("*.json")) if path.name != "schema.json"]
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in files}


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [json.dumps(value)]


def test_every_committed_record_is_understood() -> None:
    found = records(ROOT / "leaderboard" / "results")
    migrated = migrate_results(found)
    assert migrated.keys() == found.keys()
    assert len({place for place, _ in migrated.values()}) == len(found)


def test_no_value_is_lost() -> None:
    """What has gone is what has another word, or is computed again: ids, the recipe's hash, schema versions."""
    words = {'"exact"', '"literal"', '"digits+"'}
    for path, (_, new) in migrate_results(records(OLD)).items():
        old = records(OLD)[path]
        derived = {json.dumps(old["id"]), json.dumps(old.get("recipe", {}).get("sha256")), "1"}
        texts = {leaf for leaf in leaves(old) if "literal" in leaf or "macs_residual" in leaf}
        assert set(leaves(old)) - set(leaves(new)) <= derived | words | texts


def test_a_recipe_keeps_what_is_trained_and_execution_has_the_rest() -> None:
    migrated = {path: new for path, (_, new) in migrate_results(records(OLD)).items()}
    plain = migrated["measured/mgnet_2_2_c32_bl-digits-5f80516ea086.json"]
    feature = migrated["measured/mgnet_2_2_c32_bl-digits-2638e8a031c3.json"]
    if plain["execution"]["form"] == "feature":
        plain, feature = feature, plain
    assert plain["recipe"] == feature["recipe"]
    assert plain["recipe"]["name"] == plain["recipe"]["values"]["name"] == "digits"
    assert not {"precision", "form", "memory", "layout", "convolution"} & plain["recipe"]["values"].keys()
    assert plain["execution"] == {
        "device": "cpu",
        "precision": "deterministic",
        "layout": "contiguous",
        "convolution": "direct",
        "kernel_backend": None,
        "recompute": "none",
        "form": "residual",
        "threads": 1,
        "processes": 1,
    }
    assert feature["execution"] == plain["execution"] | {"form": "feature"}
    assert plain["id"] != feature["id"]


def test_run_ids_are_the_same_digits_and_certificates_name_their_executions() -> None:
    old = records(OLD)
    migrated = migrate_results(old)
    for path, (place, new) in migrated.items():
        assert place.endswith(f"-{new['id']}.json")
        if path.startswith("measured/"):
            assert [run["run_id"] for run in new["runs"]] == [run["mlflow_run_id"] for run in old[path]["runs"]]
        else:
            both = "mgnet" in path
            assert new["report"]["executions"] == (["feature_form", "residual_form"] if both else ["forward"])
            assert "literal" not in json.dumps(new)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("recipe", "values", "precision"), "auto", "'auto'"),
        (("recipe", "values", "lr"), 0.5, "hash is not of its values"),
        (("environment", "more"), "x", "more: Extra inputs"),
        (("runs", 0, "checkpoint_sha256"), "0" * 64, "digest of zeros"),
        (("runs", 0, "correct_last"), 361, "worse than the last"),
        (("dataset", "n"), 100, "360 test images, not 100"),
        (("schema_version",), 3, "not known to this script"),
        (("kind",), "other", "not known to this script"),
        (("surprise",), 1, "surprise: Extra inputs"),
    ],
)
def test_a_record_that_is_not_understood_is_refused_with_its_path(keys: tuple[Any, ...], value: Any, said: str) -> None:
    path = "measured/msdcsc40_k12-digits-81bc75e55b8a.json"
    record = copy.deepcopy(records(OLD)[path])
    part: Any = record
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    if keys == ("recipe", "values", "precision"):
        from mgnet_records.run_result import recipe_sha256

        record["recipe"]["sha256"] = recipe_sha256(record["recipe"]["values"])
    with pytest.raises(InputError, match=path) as caught:
        migrate_results({path: record})
    assert said in str(caught.value)


def test_a_folder_is_converted_once_and_a_stopped_call_is_finished_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(OLD, folder)
    moved = migrate_folder(folder)
    once = records(folder)
    assert len(moved) == len(once) == 5
    assert all(old == new for old, new in migrate_folder(folder))
    shutil.copytree(OLD, folder, dirs_exist_ok=True)  # as if the old files had not been removed yet
    migrate_folder(folder)
    assert records(folder) == once
