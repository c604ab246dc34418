"""A checkpoint says which model it holds, comes back bit for bit, and a file that is no checkpoint is refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.utils import ModelEmaV3
from torch import nn

from mgnet_models import MgNet, load_checkpoint, save_checkpoint

NAME = "mgnet"
ARGS: dict[str, Any] = {"notation": "MgNet[2,1]-[(4,3),(5,6)]-B^l", "in_chans": 1, "num_classes": 3}


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[MgNet, Path]:
    model = timm.create_model(NAME, **ARGS).eval()
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path, model_name=NAME, model_args=ARGS)
    return model, path


def test_a_saved_model_comes_back_bit_for_bit(checkpoint: tuple[MgNet, Path]) -> None:
    model, path = checkpoint
    loaded = load_checkpoint(path)
    assert loaded.notation == model.notation
    assert not loaded.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_saving_leaves_one_file(checkpoint: tuple[MgNet, Path]) -> None:
    _, path = checkpoint
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_equal_models_give_equal_files(checkpoint: tuple[MgNet, Path], tmp_path: Path) -> None:
    model, path = checkpoint
    for attempt in range(5):
        again = tmp_path / f"again{attempt}.safetensors"
        save_checkpoint(model, again, model_name=NAME, model_args=dict(reversed(ARGS.items())))
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "description",
    ["no JSON", "[]", '{"model": 3, "model_args": {}}', '{"model": "mgnet", "model_args": []}'],
    ids=["no JSON", "a list", "a number as name", "a list as arguments"],
)
def test_a_corrupt_description_is_refused(tmp_path: Path, description: str) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", {"mgnet": description})
    with pytest.raises(ValueError, match="has a corrupt description"):
        load_checkpoint(tmp_path / "w.safetensors")


def test_saving_into_a_missing_folder_leaves_nothing(tmp_path: Path) -> None:
    model = timm.create_model(NAME, **ARGS)
    with pytest.raises(Exception, match=r"folder .* does not exist"):
        save_checkpoint(model, tmp_path / "missing" / "model.safetensors", model_name=NAME, model_args=ARGS)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint at .*nothing.safetensors: give the path of a .safetensors file"):
        load_checkpoint(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\x80\x04K*.", b"\xff" * 64],
    ids=["empty", "JSON", "pickle", "absurd header length"],
)
def test_a_file_in_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a readable safetensors file") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(checkpoint: tuple[MgNet, Path]) -> None:
    _, path = checkpoint
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_checkpoint(path)


def test_a_file_without_description_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"does not say which model it holds: write it with mgnet_models.save_checkpoint"):
        load_checkpoint(tmp_path / "w.safetensors")


def test_weights_of_another_model_are_refused_in_one_line(checkpoint: tuple[MgNet, Path], tmp_path: Path) -> None:
    model, _ = checkpoint
    path = tmp_path / "other.safetensors"
    save_checkpoint(model, path, model_name=NAME, model_args=ARGS | {"num_classes": 4})
    with pytest.raises(ValueError, match="does not fit the model 'mgnet'") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrap",
    [lambda m: torch.compile(m, backend="eager"), nn.DataParallel, ModelEmaV3],
    ids=["compiled", "data parallel", "averaged"],
)
def test_a_wrapped_model_is_saved_without_its_wrapper(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    model = timm.create_model(NAME, **ARGS).eval()
    save_checkpoint(wrap(model), tmp_path / "model.safetensors", model_name=NAME, model_args=ARGS)
    for key, tensor in load_checkpoint(tmp_path / "model.safetensors").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key]), key


def test_arguments_that_are_no_json_are_rejected_in_one_line(tmp_path: Path) -> None:
    model = timm.create_model(NAME, **ARGS)
    with pytest.raises(ValueError, match=r"cannot be saved: .*; give layers by their names"):
        save_checkpoint(model, tmp_path / "m.safetensors", model_name=NAME, model_args=ARGS | {"act_layer": nn.GELU})
    assert list(tmp_path.iterdir()) == []
