"""Convert the records of a results folder from schema 1 to the contract of mgnet-records: `python ci/migrate_records.py FOLDER`.

What changes: MLflow's run id becomes the run's own id (the same 32 digits); the five recipe fields that say how it is
computed move to `execution`, in the new words, and the recipe's hash is of what is left; a certificate names its executions.
Claims and the demo stay as they are, as do records that are converted already. The folder's schema.json is no record:
`mgnet-leaderboard schema` writes it. A record that is not understood stops the script before a file is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mgnet_records import certificate, run_result
from mgnet_records.canonical import content_id, document_text
from mgnet_records.certificate import CERTIFICATE
from mgnet_records.errors import InputError
from mgnet_records.files import write_text
from mgnet_records.run_result import RUN_RESULT, recipe_sha256
from mgnet_records.strict_json import first_fault

Document = dict[str, Any]

UNCHANGED = ("audit", "discrepancies", "comparisons", "duality_demo")
# Everything that must be equal for two seeds to be comparable.
IDENTITY = ("model", "model_args", "dataset", "recipe", "execution", "epochs", "commit", "dirty", "environment", "contributor")

PRECISION = {"exact": "deterministic", "fast": "mixed"}
FORM = {"residual": "residual", "literal": "feature"}
RECOMPUTE = {"default": "none", "lean": "selective", "leaner": "full", "deep": "sublinear"}
# Before `layout` was a field, the fast tier alone computed in channels_last; before `convolution` was, all was direct.
LAYOUT_OF_TIER = {"exact": "contiguous", "fast": "channels_last"}

# Properties of a certificate that are named by a form.
PROPERTIES = {
    "residual_of_the_literal_form": "residual_of_the_feature_form",
    "macs_literal": "macs_feature_form",
    "macs_residual": "macs_residual_form",
}


def migrate_results(records: Mapping[str, Document]) -> dict[str, tuple[str, Document]]:
    """Old path -> (new path, new record), for all records of a folder. Raises InputError for one that is not understood."""
    migrated: dict[str, tuple[str, Document]] = {}
    placed: dict[str, Document] = {}
    plain = {
        (record["recipe"]["name"], _recipe(record["recipe"])["sha256"])
        for path, record in records.items()
        if _kind(path, record) == ("measured", 1)
    }
    for path, record in records.items():
        kind, version = _kind(path, record)
        try:
            if kind == "measured" and version == 1:
                new = migrate_measured(record, plain)
                path_of_new = f"measured/{new['model']}-{new['dataset']['name']}-{new['id']}.json"
            elif kind == "verified" and version == 1:
                new = migrate_verified(record)
                path_of_new = f"verified/{new['report']['target']['model']}-{new['id']}.json"
            elif (kind in UNCHANGED and version == 1) or (kind in ("measured", "verified") and version == 2):
                new, path_of_new = record, path
            else:
                raise InputError(f"kind {kind!r} of schema {version!r} is not known to this script")
        except ValidationError as error:
            raise InputError(f"{path}: {first_fault(error)}") from None
        except KeyError as error:
            raise InputError(f"{path}: has no {error}, or a value of it that this script does not know") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        # Equal ones are an old record and what a call that was stopped has made of it.
        _require(placed.setdefault(path_of_new, new) == new, f"{path}: another record would lie at {path_of_new} too")
        migrated[path] = (path_of_new, new)
    return migrated


def migrate_measured(record: Document, plain: frozenset[tuple[str, str]] | set[tuple[str, str]] = frozenset()) -> Document:
    """A measured record in the new contract. `plain` holds (name, hash) of recipes: a changed one that equals one takes its name.

    Raises KeyError, pydantic.ValidationError or InputError for what is not understood.
    """
    old = dict(record["recipe"]["values"])
    _require(record["recipe"]["sha256"] == recipe_sha256(old), "the recipe's hash is not of its values")
    environment = dict(record["environment"])
    tier = old["precision"]
    execution = {
        "device": "cpu" if environment["cuda"] is None else "cuda",
        "precision": PRECISION[tier],
        "layout": old.get("layout", LAYOUT_OF_TIER[tier]),
        "convolution": old.get("convolution", "direct"),
        "kernel_backend": None,
        "recompute": RECOMPUTE[old.get("memory", "default")],
        "form": FORM[old["form"]],
        "threads": environment.pop("threads"),
        # Not recorded; the committed records are of a study that runs single processes.
        "processes": 1,
    }
    recipe = _recipe(record["recipe"])
    base = recipe["name"].removesuffix("+")
    if (base, recipe["sha256"]) in plain:  # only the execution had been changed, which no longer changes the name
        recipe = {**recipe, "name": base, "values": {**recipe["values"], "name": base}}
    new = {
        **record,
        "schema_version": 2,
        "recipe": recipe,
        "execution": execution,
        "environment": {**environment, "packages": {}},
        "runs": [{("run_id" if key == "mlflow_run_id" else key): value for key, value in run.items()} for run in record["runs"]],
    }
    _require(all("mlflow_run_id" in run for run in record["runs"]), "a run has no mlflow_run_id")
    for run in new["runs"]:
        _check_run(new, run)
    return {**new, "id": content_id({key: new[key] for key in IDENTITY})}


def migrate_verified(record: Document) -> Document:
    """A verified record in the new contract. Raises as `migrate_measured`."""
    report = record["report"]
    _require(report["kind"] == "verification" and report["schema_version"] == 1, "is no verification of schema 1")
    macs = report["macs"]
    new = {
        **report,
        "schema_version": 2,
        "kernel_backend": None,
        # A MgNet was examined in both forms; a network of another family has one way of being computed.
        "executions": ["forward"] if macs is None else ["feature_form", "residual_form"],
        "macs": macs
        and {
            "image": macs["image"],
            "convention": macs["convention"],
            "residual_form": macs["residual"],
            "feature_form": macs["literal"],
        },
        "properties": [_property(checked) for checked in report["properties"]],
    }
    valid = CERTIFICATE.validate_json(json.dumps(new))
    if fault := certificate.fault_of(valid):
        raise InputError(fault)
    return {"schema_version": 2, "kind": "verified", "id": certificate.certificate_id(valid), "report": new}


def _kind(path: str, record: Document) -> tuple[Any, Any]:
    _require(isinstance(record, dict), f"{path}: is no record")
    return record.get("kind"), record.get("schema_version")


def _recipe(recipe: Document) -> Document:
    values = {
        field: value
        for field, value in recipe["values"].items()
        if field not in ("precision", "layout", "convolution", "memory", "form")
    }
    return {**recipe, "values": values, "sha256": recipe_sha256(values)}


def _property(checked: Document) -> Document:
    text = {key: checked[key].replace("literal form", "feature form") for key in ("statement", "detail")}
    new = {**checked, **text, "name": PROPERTIES.get(checked["name"], checked["name"])}
    _require("literal" not in json.dumps(new), f"property {checked['name']} speaks of a literal form in words that are not known")
    return new


def _check_run(measured: Document, run: Document) -> None:
    """A measured record and one of its runs hold what a run result holds; so the contract of those checks it."""
    of_all = {key: value for key, value in measured.items() if key not in ("id", "contributor", "link", "runs", "summary")}
    of_one = {key: value for key, value in run.items() if not key.startswith("correct_")}
    counts = {key: run[key] for key in ("correct_last", "correct_best")} | {"n": measured["dataset"]["n"]}
    whole = {**of_all, **of_one, "schema_version": 2, "kind": "run", "test": counts}
    if fault := run_result.fault_of(RUN_RESULT.validate_json(json.dumps(whole))):
        raise InputError(f"seed {run['seed']}: {fault}")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise InputError(otherwise)


def migrate_folder(folder: Path) -> list[tuple[str, str]]:
    """Convert a results folder in place; (old path, new path) of every record. Raises InputError and writes nothing on a fault."""
    files = [path for path in sorted(folder.rglob("*.json")) if path != folder / "schema.json"]
    records = {path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in files}
    migrated = migrate_results(records)
    # All new files are written before an old one goes, so that a stop in between loses nothing; a second call then finishes.
    for place, record in migrated.values():
        write_text(folder / place, document_text(record), only_if_changed=True)
    places = {place for place, _ in migrated.values()}
    for path in migrated.keys() - places:
        (folder / path).unlink()
    return [(path, place) for path, (place, _) in migrated.items()]


def main() -> int:
    """Convert the folder that is given; the exit code is 2 when a record is not understood."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("give one folder of results, as in: python ci/migrate_records.py leaderboard/results", file=sys.stderr)
        return 2
    try:
        moved = migrate_folder(Path(sys.argv[1]))
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for old, new in moved:
        print(f"{old} -> {new if new != old else 'the same'}")
    print(f"{len(moved)} records in, {len({new for _, new in moved})} out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
