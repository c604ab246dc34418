"""The diagnosis: its figures are what the specification and plain linear algebra say."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from mgnet_verify import Example
from mgnet_verify.check.oracle import oracle_of
from mgnet_verify.cli import main
from mgnet_verify.diagnose.diagnosis import diagnose, receptive_fields
from mgnet_verify.network.protocol import view_of
from mgnet_verify.specification import convolve


def test_residuals_and_corrections_are_those_of_the_specification() -> None:
    right = oracle_of(
        timm.create_model("mgnet", notation="MgNet[2,2]-[(2,3),(3,2)]-B^{l,i}", num_classes=2), Example(seed=1, shape=(2, 3, 6, 5))
    )
    rows = diagnose(right.model, torch.from_numpy(Example(seed=1, shape=(2, 3, 6, 5)).pixels()))
    traces = [(trace, i) for trace in right.feature_form.grids for i in range(len(trace.s))]
    assert [row.residual for row in rows] == pytest.approx([np.sqrt((trace.r[i] ** 2).mean()) for trace, i in traces])
    assert [row.correction for row in rows] == pytest.approx([np.sqrt((trace.s[i] ** 2).mean()) for trace, i in traces])
    ratios = [np.sqrt((trace.r[i + 1] ** 2).mean() / (trace.r[i] ** 2).mean()) for trace, i in traces[:-1]]
    assert [row.ratio for row in rows[:-1]] == pytest.approx(ratios)
    assert rows[-1].ratio is None


def test_the_norm_of_the_system_is_its_largest_singular_value() -> None:
    model = timm.create_model("mgnet", notation="MgNet[2]-[2]-B^l", num_classes=2).double()
    A = model.grids[0].A.weight.detach().numpy()
    matrix = convolve(A, np.eye(2 * 4 * 5).reshape(-1, 2, 4, 5)).reshape(40, -1)
    images = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    row = diagnose(model, images)[0]
    assert row.norm_A == pytest.approx(np.linalg.norm(matrix, 2), rel=0.02)
    with torch.no_grad():
        model.grids[0].A.weight.mul_(0)
    assert diagnose(model, images)[0].radius == pytest.approx(1)  # the iteration is the identity on r


@pytest.mark.parametrize("notation", ["MgNet[2]-[2]-B^l", "MgNet[1,2]-[2]-B^l", "MgNet[2,1,1]-[2]-B^{l,i}"])
def test_the_receptive_field_is_as_wide_as_what_one_value_depends_on(notation: str) -> None:
    model = timm.create_model("mgnet", notation=notation, num_classes=2).double().eval()
    with torch.no_grad():  # weights that let every path through: A is negative, so that r = f - A u stays positive
        for name, parameter in model.named_parameters():
            if parameter.ndim == 4:
                parameter.fill_(-0.01 if ".A." in name else 1.0)
    view = view_of(model)
    field, stride = receptive_fields(view.grids, imagenet=False)[-1][-1], 2 ** (len(view.grids) - 1)
    center = stride * (field // stride + 2)
    image = torch.ones(1, 3, 1, 2 * center + 1, dtype=torch.float64, requires_grad=True)
    model.forward_features(image)[0, :, 0, center // stride].sum().backward()
    assert image.grad is not None
    touched = torch.nonzero(image.grad.sum((0, 1, 2))).flatten()
    assert int(touched.max() - touched.min()) + 1 == field


def test_diagnose_prints_a_table_and_writes_metrics_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "d.json", tmp_path / "d.svg"]
    assert main(["diagnose", "mgnet_2_2_c32_bl", "--json", str(files[0]), "--figure", str(files[1])]) == 0
    assert "mgnet_2_2_c32_bl on the last 64 of scikit-learn's digits" in capsys.readouterr().out
    metrics = json.loads(files[0].read_text(encoding="utf-8"))["metrics"]
    assert metrics["diagnosis/grid_2/iteration_1/residual"] > 0
    assert len(metrics) == 4 * 6 - 1
    assert b"<svg" in files[1].read_bytes()


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 3, 8, 8)])
def test_images_of_the_wrong_shape_are_rejected(shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape))
    assert main(["diagnose", "mgnet_2_2_c32_bl", "--images", str(tmp_path / "x.npy")]) == 2
    assert "the network needs (b, 1, h, w)" in capsys.readouterr().err


def test_a_pickled_array_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert main(["diagnose", "mgnet_2_2_c32_bl", "--images", str(tmp_path / "x.npy")]) == 2
    assert "give an .npy file of shape (b, c, h, w)" in capsys.readouterr().err
