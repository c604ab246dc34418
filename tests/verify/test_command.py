"""The command: a certificate for a good network, one line and exit code 2 for bad input, nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import timm
import torch

from mgnet_models import save_checkpoint
from mgnet_records.audit import AuditedRow
from mgnet_records.certificate import certificate_schema, fault_of, read_certificate
from mgnet_verify import resolve
from mgnet_verify.cli import main


def test_certify_writes_a_certificate_that_fits_the_derived_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "certificate.json"
    assert main(["certify", "mgnet_2_2_c32_bl", "--json", str(file)]) == 0
    document = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validate(document, certificate_schema())
    assert fault_of(read_certificate(file)) is None
    assert document["schema_version"] == 2
    assert document["executions"][:2] == ["residual_form", "feature_form"]
    assert {"recompute_full", "folded", "grad_checkpointing", "inference_mode"} <= set(document["executions"])
    assert document["status"] == "pass"
    assert document["target"] == {"model": "mgnet_2_2_c32_bl", "checkpoint_sha256": None}
    assert document["notation"] == "MgNet[2,2]-[32]-B^l"
    assert set(document["parameters"].values()) == {56_618}
    assert capsys.readouterr().out.endswith("PASS\n")
    assert list(tmp_path.iterdir()) == [file]


def test_a_checkpoint_of_a_bare_notation_has_the_name_of_its_run(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    arguments = {"notation": "MgNet[1,1]-[4]-B^l", "in_chans": 1, "num_classes": 10}
    save_checkpoint(timm.create_model("mgnet", **arguments), file, model_name="mgnet", model_args=arguments)
    assert resolve(str(file)).name == "mgnet_1_1_c4_bl"


def test_certify_accepts_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"in_chans": 1, "num_classes": 10}
    file = tmp_path / "digits.safetensors"
    save_checkpoint(timm.create_model("mgnet_2_2_c32_bl", **arguments), file, model_name="mgnet_2_2_c32_bl", model_args=arguments)
    assert main(["certify", str(file), "--json", str(tmp_path / "c.json")]) == 0
    target = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["target"]
    assert target["model"] == "mgnet_2_2_c32_bl"
    assert len(target["checkpoint_sha256"]) == 64


@pytest.mark.nightly
def test_certify_accepts_a_notation_that_has_no_name() -> None:
    assert main(["certify", "MgNet[1,2]-[(3,2),(2,4)]-B^{l,i}"]) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["certify", "mgnet_2_2_2_2_c256_b"], "unknown model 'mgnet_2_2_2_2_c256_b': did you mean mgnet_2_2_2_2_c256_bl"),
        (["certify", "MgNet[2,2]-[32"], "malformed notation 'MgNet[2,2]-[32'"),
        (["certify", "MgNet[2,0]-[32]-B^l"], "nu=0 on grid 2: each grid needs at least one smoothing iteration"),
        (["certify", "MgNet[2,2]-[32,32,32]-B^l"], "has 3 entries for 2 grids"),
        (["certify", "mgnet_2_2_2_2_c257_bl"], "unknown model 'mgnet_2_2_2_2_c257_bl': did you mean mgnet_2_2_2_2_c256_bl"),
        (["certify", "mgnet_1_2_c5_bl"], "Any other MgNet is written as its notation, as in 'MgNet[2,2]-[48]-B^l'"),
        (["certify", "lenet"], "unknown model 'lenet'"),
        (["diagnose", "mgnet_1_2_c5_bl"], "unknown model 'mgnet_1_2_c5_bl'"),
        (["certify", "mgnet_2_2_c32_bl.mnis"], "'mgnet_2_2_c32_bl.mnis' cannot be built: Invalid pretrained tag (mnis)"),
        (["certify", "mgnet_2_2_2_2_c256_bl", "--image", "4x4"], "image of 4x4 pixels is too small for the 4 grids"),
        (["certify", "missing.safetensors"], "no checkpoint at missing.safetensors"),
        (["certify", "mgnet_2_2_c32_bl", "--json", "no/such/folder/c.json"], "folder no/such/folder does not exist"),
        (["audit", "--table", "12"], "there is no table 12 with numbers: the paper has tables 1 to 11"),
        (["audit", "--json", "no/such/folder/a.json"], "folder no/such/folder does not exist"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"not a checkpoint at all"])
def test_a_foreign_file_is_refused_without_being_unpickled(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "foreign.pt"
    file.write_bytes(content)
    assert main(["certify", str(file)]) == 2
    assert "foreign.pt is not a readable safetensors file" in capsys.readouterr().err


def test_a_pickled_checkpoint_is_refused_and_its_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "exploded",)

    torch.save({"model": Bomb()}, tmp_path / "bomb.safetensors")
    assert main(["certify", str(tmp_path / "bomb.safetensors")]) == 2
    assert "is not a readable safetensors file" in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()


def test_an_unwritable_report_leaves_the_old_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "mgnet_2_2_c32_bl", "--json", str(tmp_path)]) == 2
    assert "it is a folder; give the name of a file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["32", "0x4", "axb", "4x"])
def test_a_malformed_image_size_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["certify", "mgnet_2_2_c32_bl", "--image", text])
    assert f"{text!r} is not an image size: write height x width as in 32x32" in capsys.readouterr().err


def test_help_does_not_import_torch() -> None:
    code = "import sys; from mgnet_verify.cli import parser; parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_audit_prints_the_rows_of_a_table_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "audit.json"
    assert main(["audit", "--table", "5", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "v2/table5/mgnet_2-2-2-2_c64-128-256-512_B/cifar100: 12.5M belongs to" in out
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [row["exact"] for row in rows][:2] == [8_301_924, 33_118_820]
    assert set(rows[0]) == set(AuditedRow.model_fields)
