"""A checkpoint says which model it holds, comes back bit for bit, and a file that is no checkpoint is refused in one line."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

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


def write(path: Path, state: dict[str, Tensor], args: dict[str, Any] = ARGS) -> Path:
    """A file with our description and any tensors."""
    save_file(state, path, {"mgnet": json.dumps({"model": NAME, "model_args": args})})
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state | {"head.fc.weight": torch.zeros(4, 5)}, r"has head.fc.weight of shape \(4, 5\), where"),
        (lambda state: state | {"more": torch.zeros(1)}, "has more, which the network has not"),
        (lambda state: {key: value for key, value in state.items() if "sigma" not in key}, "lacks grids.0.sigma_r.0.bias, .* more"),
        (lambda state: state | {"head.fc.bias": torch.zeros(3, dtype=torch.int64)}, "has head.fc.bias of torch.int64"),
        (lambda state: state | {"head.fc.bias": torch.tensor([0.0, torch.nan, 1.0])}, "head.fc.bias holds NaN or infinity"),
        (lambda state: state | {"stem.sigma.running_var": torch.full((3,), torch.inf)}, "running_var holds NaN or infinity"),
    ],
    ids=["another shape", "one more", "some less", "integers", "NaN", "infinite statistics"],
)
def test_tensors_that_do_not_fit_are_rejected_in_one_line(
    checkpoint: tuple[MgNet, Path], tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    path = write(tmp_path / "other.safetensors", change(checkpoint[0].state_dict()))
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "args, message",
    [
        (ARGS | {"num_classes": 4}, "does not fit"),
        (ARGS | {"nonsense": 4}, "does not fit .*nonsense"),
        (ARGS | {"notation": "MgNet[0]-[4]-B^l"}, "does not fit .*nu=0"),
        (ARGS | {"notation": "MgNet[99999999]-[1]-B^l"}, "does not fit .*at most"),
    ],
    ids=["classes", "an unknown argument", "no iterations", "huge"],
)
def test_arguments_that_do_not_fit_are_rejected_in_one_line(
    checkpoint: tuple[MgNet, Path], tmp_path: Path, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(write(tmp_path / "other.safetensors", checkpoint[0].state_dict(), args))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_dtype_comes_back_too(dtype: torch.dtype, tmp_path: Path) -> None:
    model = timm.create_model(NAME, **ARGS).to(dtype)
    save_checkpoint(model, tmp_path / "model.safetensors", model_name=NAME, model_args=ARGS)
    for key, tensor in load_checkpoint(tmp_path / "model.safetensors").state_dict().items():
        assert tensor.dtype == model.state_dict()[key].dtype
        assert torch.equal(tensor, model.state_dict()[key]), key


class Wrapper(nn.Module):
    """A module around the network under a name that a library uses."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()
        self.add_module(name, model)


def compiled_grids(model: Any) -> nn.Module:
    model.grids[0] = torch.compile(model.grids[0], backend="eager")
    return model


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "data parallel": nn.DataParallel,
    "ModelEmaV2": ModelEmaV2,
    "ModelEmaV3": ModelEmaV3,
    "AveragedModel": AveragedModel,
    "data parallel of compiled": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
    "compiled average of data parallel": lambda m: torch.compile(ModelEmaV3(nn.DataParallel(m)), backend="eager"),
    "FSDP": lambda m: Wrapper("_fsdp_wrapped_module", m),
    "checkpointed": lambda m: Wrapper("_checkpoint_wrapped_module", m),
    "Lightning Fabric": lambda m: Wrapper("_forward_module", m),
    "compiled grids": compiled_grids,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_is_saved_without_its_wrapper(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    model = timm.create_model(NAME, **ARGS).eval()
    state = copy.deepcopy(model.state_dict())
    wrapped = wrap(model)
    save_checkpoint(wrapped, tmp_path / "model.safetensors", model_name=NAME, model_args=ARGS)
    files = [tmp_path / "model.safetensors"]
    if "n_averaged" not in wrapped.state_dict():  # and a file that holds the names of the wrapper
        files.append(write(tmp_path / "wrapped.safetensors", wrapped.state_dict()))
    for file in files:
        loaded = load_checkpoint(file).state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())


def pruned(model: Any) -> None:
    prune.random_unstructured(model.grids[0].A, "weight", 0.5)


def weight_normed(model: Any) -> None:
    parametrizations.weight_norm(model.grids[0].A)


@pytest.mark.parametrize(
    "change, args, message",
    [
        (None, ARGS | {"num_classes": 4}, "has head.fc.weight of shape"),
        (None, ARGS | {"notation": "MgNet[2,1]-[(4,3),(5,6)]-B^{l,i}"}, "lacks grids.0.B.1.weight"),
        (None, ARGS | {"nonsense": 1}, "nonsense"),
        (None, ARGS | {"drop_rate": float("nan")}, "not JSON compliant"),
        (pruned, ARGS, "lacks grids.0.A.weight and has grids.0.A.weight_mask.*make pruning permanent"),
        (weight_normed, ARGS, "lacks grids.0.A.weight and has grids.0.A.parametrizations"),
        (lambda model: model.reset_classifier(7), ARGS, "has head.fc.bias of shape|has head.fc.weight of shape"),
        (lambda model: model.prune_intermediate_layers([0]), ARGS, "lacks grids.1"),
        (lambda model: model.to("meta"), ARGS, "meta device has no weights"),
    ],
    ids=[
        "classes",
        "sharing",
        "an unknown argument",
        "NaN",
        "pruned",
        "weight norm",
        "another head",
        "fewer grids",
        "meta device",
    ],
)
def test_what_could_not_be_loaded_is_not_saved(
    change: Callable[[Any], object] | None, args: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = timm.create_model(NAME, **ARGS)
    if change is not None:
        change(model)
    with pytest.raises(ValueError, match=message) as error:
        save_checkpoint(model, tmp_path / "model.safetensors", model_name=NAME, model_args=args)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_nobody_knows_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be saved: Unknown model"):
        save_checkpoint(timm.create_model(NAME, **ARGS), tmp_path / "m.safetensors", model_name="mgnet_nobody", model_args={})


def test_tied_weights_and_arguments_that_load_weights_do_no_harm(tmp_path: Path) -> None:
    args = ARGS | {"pretrained": False, "checkpoint_path": ""}
    model = timm.create_model(NAME, **ARGS)
    model.grids[0].sigma_u[1].weight = model.grids[0].sigma_u[0].weight
    save_checkpoint(model, tmp_path / "model.safetensors", model_name=NAME, model_args=args)
    loaded = load_checkpoint(tmp_path / "model.safetensors").state_dict()
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in model.state_dict().items())


def test_arguments_that_are_no_json_are_rejected_in_one_line(tmp_path: Path) -> None:
    model = timm.create_model(NAME, **ARGS)
    with pytest.raises(ValueError, match=r"cannot be saved: .*; give layers by their names"):
        save_checkpoint(model, tmp_path / "m.safetensors", model_name=NAME, model_args=ARGS | {"act_layer": nn.GELU})
    assert list(tmp_path.iterdir()) == []
