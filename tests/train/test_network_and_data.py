"""A network and a data set that do not fit each other: one line and exit code 2, before anything is computed or written."""

from __future__ import annotations

import pickle
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from mgnet_models import save_checkpoint
from mgnet_records.datasets import DATA_SETS
from mgnet_train.cli.doctor import print_data
from mgnet_train.cli.main import main
from mgnet_train.config.network import check_fits
from mgnet_train.data.untracked import note_untracked
from mgnet_train.errors import InputError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Small CIFAR-10, CIFAR-100 and MNIST."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data"
    for name, files, key in (
        ("cifar10", [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], b"labels"),
        ("cifar100", ["train", "test"], b"fine_labels"),
    ):
        (folder / name).mkdir(parents=True)
        for file in files:
            batch = {b"data": random.integers(0, 256, (4, 3072), dtype=np.uint8), key: [0, 1, 2, 3]}
            (folder / name / file).write_bytes(pickle.dumps(batch, 2))
    (folder / "mnist").mkdir()
    for prefix in ("train", "t10k"):
        pixels, labels = bytes(4 * 784), bytes(4)
        (folder / "mnist" / f"{prefix}-images-idx3-ubyte").write_bytes(b"\0\0\x08\3" + struct.pack(">3I", 4, 28, 28) + pixels)
        (folder / "mnist" / f"{prefix}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + struct.pack(">I", 4) + labels)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[str], Path]:
    def write(dataset: str) -> Path:
        data = DATA_SETS[dataset]
        arguments = {"notation": "MgNet[1]-[4]-B^l", "in_chans": data.input_size[0], "num_classes": data.num_classes}
        path = tmp_path / f"{dataset}.safetensors"
        save_checkpoint(timm.create_model("mgnet", **arguments), path, model_name="mgnet", model_args=arguments)
        return path

    return write


@pytest.mark.parametrize("command", ["evaluate", "landscape"])
@pytest.mark.parametrize(
    "trained, given, message",
    [
        ("digits", "cifar10", "takes images of 1 channels and cifar10 has 3: name its own data set with --data"),
        ("cifar10", "digits", "takes images of 3 channels and digits has 1: name its own data set with --data"),
        ("cifar10", "cifar100", "distinguishes 10 classes and cifar100 has 100: name its own data set with --data"),
        ("cifar100", "digits", "distinguishes 100 classes and digits has 10: name its own data set with --data"),
    ],
)
def test_a_checkpoint_on_a_data_set_of_other_channels_or_classes_is_refused_in_one_line(
    data_dir: Path,
    tmp_path: Path,
    checkpoint: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    command: str,
    trained: str,
    given: str,
    message: str,
) -> None:
    path, out = checkpoint(trained), tmp_path / "out"
    words = [command, str(path), "--data", given, "--data-dir", str(data_dir)]
    words += ["--out", str(out)] if command == "landscape" else ["--device", "cpu"]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == f"mgnet-train {command}: {path} {message}"
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not list(out.glob("*"))


@pytest.mark.parametrize(
    "model, data, message",
    [
        ("vit_tiny_patch16_224", "cifar10", r"VisionTransformer cannot be trained on images \(3, 32, 32\) of cifar10 \(.*224"),
    ],
)
def test_fit_refuses_a_network_that_cannot_take_the_images(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, data: str, message: str
) -> None:
    words = [
        "fit",
        model,
        "--batch-size",
        "4",
        "--data",
        data,
        "--data-dir",
        str(data_dir),
        "--runs",
        str(tmp_path / "runs"),
        "--device",
        "cpu",
    ]
    assert main([*words, "--track", "later"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f"mgnet-train fit: {message}", last), last
    assert not (tmp_path / "runs").exists()


class _TwoHeads(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


def test_a_network_that_gives_no_logits_is_refused() -> None:
    with pytest.raises(InputError, match=r"^it gives tuple for an image, not 10 logits: use another network$"):
        check_fits(_TwoHeads(), DATA_SETS["digits"], (8, 8), what="it")
    with pytest.raises(InputError, match=r"^it gives \(1, 64\) for an image, not 10 logits"):
        check_fits(nn.Flatten(), DATA_SETS["digits"], (8, 8), what="it")


def test_looking_whether_a_network_fits_changes_nothing_in_it() -> None:
    network = timm.create_model("mgnet_2_2_c32_bl", in_chans=1).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    check_fits(network, DATA_SETS["digits"], (8, 8), what="it")
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_doctor_says_of_each_data_set_whether_it_can_be_read(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data_dir / "cifar100" / "test").write_bytes(b"")
    print_data(data_dir)
    printed = capsys.readouterr().out
    assert "data set cifar10: found\n" in printed
    assert f"{data_dir}/cifar100/test is corrupt" in printed
    assert f"data set imagenet is not at {data_dir}/imagenet: put train/" in printed


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that the code seems to lie in, with the ignore file of this one."""
    top = tmp_path / "repository"
    (top / "packages").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=top, check=True)
    (top / ".gitignore").write_bytes((Path(__file__).parents[2] / ".gitignore").read_bytes())
    monkeypatch.setattr("mgnet_train.data.untracked.__file__", str(top / "packages" / "untracked.py"))
    return top


def _is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> bool:
    note_untracked(folder)
    return "is in this repository and not ignored, so the run counts as made with changes" in capsys.readouterr().err


def test_the_default_folder_of_data_is_ignored_also_as_a_link_and_another_one_is_noted(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("data", "more", "packages/data"):
        (repository / name).mkdir()
        (repository / name / "x").write_text("")
    assert not _is_noted(repository / "data", capsys)
    assert _is_noted(repository / "more", capsys)
    assert _is_noted(repository / "packages" / "data", capsys)
    (repository / "more" / ".gitignore").write_text("*\n")
    assert not _is_noted(repository / "more", capsys)
    (repository / "data" / "x").unlink()
    (repository / "data").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (repository / "data").symlink_to(tmp_path / "elsewhere")
    assert not _is_noted(repository / "data", capsys)
    assert not _is_noted(tmp_path / "elsewhere", capsys)
    assert not _is_noted(tmp_path / "missing" / "data", capsys)
