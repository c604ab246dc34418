"""Files of weights at their edges: other wrappers and layouts, other contents, and every way in which a file is no checkpoint."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.utils import ModelEmaV2
from torch import Tensor, nn

from mgnet_models import MgNet, load_checkpoint, save_checkpoint
from mgnet_models.weights.files import packaged_weights, read_description, stated_results
from mgnet_models.weights.released_code import checkpoint_filter, from_authors, is_authors_checkpoint, load_authors_checkpoint

ARGS: dict[str, Any] = {"notation": "MgNet[2,1]-[(4,3),(5,6)]-B^l", "num_classes": 3}


@pytest.fixture
def model() -> MgNet:
    return timm.create_model("mgnet", **ARGS).eval()


def saved(wrapped: nn.Module, path: Path) -> dict[str, Tensor]:
    save_checkpoint(wrapped, path, model_name="mgnet", model_args=ARGS)
    return load_checkpoint(path).state_dict()


def require_same(seen: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(seen) == list(wanted)
    for key, tensor in wanted.items():
        assert torch.equal(seen[key], tensor), key


def test_a_model_in_channels_last_is_saved(model: MgNet, tmp_path: Path) -> None:
    wanted = model.state_dict()
    require_same(saved(model.to(memory_format=torch.channels_last), tmp_path / "model.safetensors"), wanted)
    assert read_description(tmp_path / "model.safetensors") == ("mgnet", ARGS)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_model_is_saved_from_within_every_wrapper(model: MgNet, tmp_path: Path, process_group: None) -> None:
    wrappers = (
        nn.parallel.DistributedDataParallel,
        nn.DataParallel,
        ModelEmaV2,
        lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    )
    for number, wrap in enumerate(wrappers):
        require_same(saved(wrap(model), tmp_path / f"{number}.safetensors"), model.state_dict())


@pytest.mark.parametrize(
    "description", ['{"model": "mgnet"}', '{"model_args": {}}', "3", '{"model": "mgnet", "model_args": {"notation": 1'], ids=str
)
def test_a_description_that_lacks_something_is_shown(tmp_path: Path, description: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(1)}, path, {"mgnet": description})
    with pytest.raises(ValueError) as error:
        read_description(path)
    assert str(error.value) == f"{path} has a corrupt description {description!r}: write it again with save_checkpoint"


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a readable safetensors file .*: give one written by save_checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name, arguments", [("mgnet", ARGS | {"no_such": 1}), ("no_such_network", {})], ids=["argument", "name"])
def test_a_name_or_an_argument_that_does_not_exist_is_told(
    model: MgNet, tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=f"'{name}' with model_args=.* cannot be saved: .*no_such") as error:
        save_checkpoint(model, path, model_name=name, model_args=arguments)
    assert "\n" not in str(error.value)
    description = {"mgnet": json.dumps({"model": name, "model_args": arguments})}
    save_file(model.state_dict(), path, description)
    with pytest.raises(ValueError, match=f"does not fit the model '{name}' with .*no_such") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_weights_come_with_the_stated_names_alone() -> None:
    assert packaged_weights("mgnet_2_2_2_2_c256_bl.cifar100") is None
    for name in stated_results():
        path = packaged_weights(f"{name}.digits")
        assert path is not None
        assert path.name == f"{name}.digits.safetensors"


# ---- the released code ----


def released(model: MgNet) -> dict[str, Tensor]:
    """The weights of a model under the names of the released code, both copies of each shared tensor."""
    ours = model.state_dict()
    norms = {"bn1": "stem.sigma"}
    state = {"conv1.weight": ours["stem.theta.weight"], "fc.weight": ours["head.fc.weight"], "fc.bias": ours["head.fc.bias"]}
    for g, nu in enumerate(model.notation.nu):
        if g > 0:
            for theirs, mine in (("A_old", f"grids.{g - 1}.A"), ("A_conv", f"grids.{g}.A"), ("Pi_conv", f"grids.{g}.transfer.Pi")):
                state[f"layer{g}.0.{theirs}.weight"] = ours[f"{mine}.weight"]
            state[f"layer{g}.0.R_conv.weight"] = ours[f"grids.{g}.transfer.R.weight"]
            norms |= {f"layer{g}.0.bn1": f"grids.{g}.transfer.sigma_Pi", f"layer{g}.0.bn2": f"grids.{g}.transfer.sigma_R"}
        for i in range(nu):
            block = f"layer{g}.{i + (g > 0)}"
            state[f"{block}.A.weight"] = ours[f"grids.{g}.A.weight"]
            state[f"{block}.B.weight"] = ours[f"grids.{g}.B.{0 if model.notation.share_B else i}.weight"]
            norms |= {f"{block}.bn1": f"grids.{g}.sigma_r.{i}", f"{block}.bn2": f"grids.{g}.sigma_u.{i}"}
    for theirs, mine in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            state[f"{theirs}.{part}"] = ours[f"{mine}.{part}"]
    return state


def lively(notation: str) -> MgNet:
    """A network in which no two tensors are equal."""
    model = timm.create_model("mgnet", notation=notation, num_classes=3)
    with torch.no_grad():
        for number, tensor in enumerate(model.state_dict().values()):
            tensor.copy_(torch.rand(tensor.shape) + number)
    return model


@pytest.mark.parametrize("notation", ["MgNet[2,1,3]-[4]-B^l", "MgNet[2,1,3]-[4]-B^{l,i}", "MgNet[1]-[4]-B^l"])
def test_every_tensor_of_the_released_code_has_one_place(notation: str) -> None:
    model = lively(notation)
    fresh = timm.create_model("mgnet", notation=notation, num_classes=3)
    found = from_authors(released(model), fresh)
    assert set(found) == set(model.state_dict())
    for key, tensor in found.items():
        assert torch.equal(tensor, model.state_dict()[key]), key


def test_a_checkpoint_is_of_the_released_code_if_it_has_its_first_layer_and_its_grids() -> None:
    model = lively("MgNet[1]-[4]-B^l")
    theirs = released(model)
    assert is_authors_checkpoint(theirs)
    assert set(checkpoint_filter(theirs, model)) == set(model.state_dict())
    for incomplete in ({"conv1.weight": torch.zeros(1)}, {"layer0.0.A.weight": torch.zeros(1)}, {"layer01": torch.zeros(1)}):
        assert not is_authors_checkpoint(incomplete)
        assert checkpoint_filter(incomplete, model) is incomplete


@pytest.mark.parametrize("inside", ["model_state_dict", None], ids=["in a checkpoint", "alone"])
def test_keys_of_data_parallel_are_read(tmp_path: Path, inside: str | None) -> None:
    model = lively("MgNet[2,1]-[4]-B^l")
    state: dict[str, Any] = {f"module.{key}": tensor for key, tensor in released(model).items()}
    torch.save({inside: state, "epoch": 3} if inside else state, tmp_path / "released.pt")
    fresh = timm.create_model("mgnet", notation="MgNet[2,1]-[4]-B^l", num_classes=3)
    load_authors_checkpoint(fresh, tmp_path / "released.pt")
    require_same(fresh.state_dict(), model.state_dict())


class Code:
    """What must not be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"PK\x03\x04 cut", pickle.dumps(Code(), 2), pickle.dumps({"a": Code()}, 2)],
    ids=["empty", "text", "cut archive", "code", "code in a dictionary"],
)
def test_a_file_that_holds_no_tensors_is_refused_in_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "released.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read \(.+\): give a file that") as error:
        load_authors_checkpoint(lively("MgNet[1]-[4]-B^l"), path)
    assert str(error.value).isprintable()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [[1, 2], torch.zeros(2), {"model_state_dict": [1]}, {"conv1.weight": 3}, {}],
    ids=["a list", "a tensor", "a list inside", "a number as weight", "nothing"],
)
def test_a_file_with_something_else_than_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "released.pt")
    with pytest.raises(ValueError, match=r"released.pt holds no state dict"):
        load_authors_checkpoint(lively("MgNet[1]-[4]-B^l"), tmp_path / "released.pt")
