"""Checkpoints in the layout of the authors' released code load, and every mismatch is an error that names the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mgnet_models import MgNet
from mgnet_models.weights.released_code import checkpoint_filter, from_authors, load_authors_checkpoint
from models.strategies import disturb_norms, grids_of

State = tuple[Tensor, Tensor]  # u and f


class ReleasedIteration(nn.Module):
    """A block in the layout of the released code, written for this test: A and B come from outside and are shared."""

    def __init__(self, A: nn.Conv2d, B: nn.Conv2d) -> None:
        super().__init__()
        self.A, self.B = A, B
        self.bn1, self.bn2 = nn.BatchNorm2d(A.out_channels), nn.BatchNorm2d(B.out_channels)

    def forward(self, state: State) -> State:
        u, f = state
        return u + F.relu(self.bn2(self.B(F.relu(self.bn1(f - self.A(u)))))), f


class ReleasedTransfer(nn.Module):
    def __init__(self, A_old: nn.Conv2d, A_conv: nn.Conv2d, channels: int) -> None:
        super().__init__()
        self.A_old, self.A_conv = A_old, A_conv
        self.Pi_conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.R_conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, state: State) -> State:
        u_old, f_old = state
        u = F.relu(self.bn1(self.Pi_conv(u_old)))
        return u, F.relu(self.bn2(self.R_conv(f_old - self.A_old(u_old)))) + self.A_conv(u)


class Released(nn.Module):
    """The key layout of the released network: conv1, bn1, layer0, layer1, ..., fc."""

    def __init__(self, nu: tuple[int, ...], channels: int, share_B: bool, classes: int) -> None:
        super().__init__()
        self.grids = len(nu)
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        A_old = None
        for g, count in enumerate(nu):
            A, B = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
            blocks: list[nn.Module] = [] if A_old is None else [ReleasedTransfer(A_old, A, channels)]
            for i in range(count):
                own = B if share_B or i == 0 else nn.Conv2d(channels, channels, 3, padding=1, bias=False)
                blocks.append(ReleasedIteration(A, own))
            setattr(self, f"layer{g}", nn.Sequential(*blocks))
            A_old = A
        self.fc = nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        f = F.relu(self.bn1(self.conv1(image)))
        state = torch.zeros_like(f), f
        for g in range(self.grids):
            state = getattr(self, f"layer{g}")(state)
        return self.fc(state[0].mean((2, 3)))


@pytest.fixture(params=[True, False], ids=["shared B", "own B"])
def released_and_ours(request: pytest.FixtureRequest) -> tuple[Released, MgNet]:
    released = Released((2, 1, 3), 4, request.param, 5).double().eval()
    disturb_norms(released)
    text = f"MgNet[2,1,3]-[4]-{'B^l' if request.param else 'B^{l,i}'}"
    return released, timm.create_model("mgnet", notation=text, num_classes=5).double().eval()


def test_a_converted_checkpoint_computes_the_same_logits(released_and_ours: tuple[Released, MgNet]) -> None:
    released, ours = released_and_ours
    ours.load_state_dict(from_authors(released.state_dict(), ours))
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    torch.testing.assert_close(ours.forward_feature_form(x), released(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours(x), released(x), rtol=1e-10, atol=1e-10)


def test_a_saved_file_loads_without_unpickling_code(released_and_ours: tuple[Released, MgNet], tmp_path: Path) -> None:
    released, ours = released_and_ours
    torch.save(released.state_dict(), tmp_path / "released.pt")
    load_authors_checkpoint(ours, tmp_path / "released.pt")
    assert torch.equal(grids_of(ours)[2].A.weight, released.get_parameter("layer2.1.A.weight"))
    with pytest.raises(ValueError, match=r"no checkpoint at .*nothing.pt"):
        load_authors_checkpoint(ours, tmp_path / "nothing.pt")


CONTAINERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "train_mgnet.py": lambda state: {
        "epoch": 3,
        "model_state_dict": state,
        "optimizer_state_dict": torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1).state_dict(),
    },
    "bare": lambda state: state,
    "timm": lambda state: {"epoch": 3, "arch": "mgnet", "state_dict": state, "version": 2, "metric": 0.9},
    "timm with averaged weights": lambda state: {
        "state_dict": {key: torch.zeros_like(value) for key, value in state.items()},
        "state_dict_ema": state,
    },
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
}
PREFIXES = ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net.", "model.module.", "_fsdp_wrapped_module.")


@pytest.mark.parametrize("name", ["released.pt", "released.pth", "released.pth.tar", "released.safetensors"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_file_that_the_released_training_script_saves_loads_too_and_so_do_its_kin(
    released_and_ours: tuple[Released, MgNet], container: str, name: str, tmp_path: Path
) -> None:
    released, ours = released_and_ours
    for prefix in PREFIXES:
        with torch.no_grad():
            for tensor in ours.state_dict().values():
                tensor.zero_()
        state = {prefix + key: tensor.clone() for key, tensor in released.state_dict().items()}
        if name.endswith("safetensors"):
            save_file(state, tmp_path / name)
        else:
            torch.save(CONTAINERS[container](state), tmp_path / name)
        load_authors_checkpoint(ours, tmp_path / name)
        assert torch.equal(grids_of(ours)[2].A.weight, released.get_parameter("layer2.1.A.weight"))


class Anything:
    """What a pickle may hold and nobody should run."""


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cannot be read"),
        (b"no checkpoint", "cannot be read"),
        (b"PK\x03\x04 cut", "cannot be read"),
        ({"epoch": 3}, "holds no state dict"),
        ({}, "holds no state dict"),
        ([torch.zeros(1)], "holds no state dict"),
        (torch.zeros(1), "holds no state dict"),
        ({"model_state_dict": {"conv1.weight": [1.0]}}, "holds no state dict"),
        ({"model": Anything()}, "cannot be read"),
        ({"module.conv1.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)}, "two tensors are named 'conv1.weight'"),
        ({"state_dict": {"conv2.weight": torch.zeros(1), "fc": torch.zeros(1)}}, "key 'conv1.weight' is missing"),
    ],
    ids=["empty", "text", "torn", "no weights", "nothing", "a list", "a tensor", "a list of numbers", "code", "twice", "others"],
)
def test_a_file_that_is_no_checkpoint_is_rejected_in_one_line(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "released.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as error:
        load_authors_checkpoint(timm.create_model("mgnet", notation="MgNet[1]-[4]-B^l"), path)
    assert "\n" not in str(error.value)


def test_a_folder_and_weights_of_a_diverged_training_are_rejected(
    released_and_ours: tuple[Released, MgNet], tmp_path: Path
) -> None:
    released, ours = released_and_ours
    with pytest.raises(ValueError, match="cannot be read"):
        load_authors_checkpoint(ours, tmp_path)
    released.fc.bias.data[1] = torch.nan
    torch.save(released.state_dict(), tmp_path / "released.pt")
    with pytest.raises(ValueError, match=r"head.fc.bias holds NaN or infinity"):
        load_authors_checkpoint(ours, tmp_path / "released.pt")


def test_timm_loads_such_a_file_as_pretrained_weights(tmp_path: Path) -> None:
    released = Released((2, 2, 2, 2), 256, True, 100)
    torch.save(released.state_dict(), tmp_path / "released.pt")
    overlay = {"file": str(tmp_path / "released.pt"), "num_classes": 100}
    model = timm.create_model("mgnet_2_2_2_2_c256_bl", pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.grids[3].B[0].weight, released.get_parameter("layer3.1.B.weight"))


def test_our_own_keys_pass_unchanged(released_and_ours: tuple[Released, MgNet]) -> None:
    _, ours = released_and_ours
    state = ours.state_dict()
    assert checkpoint_filter(state, ours) is state


@pytest.mark.parametrize("key", ["layer1.0.A_old.weight", "layer0.1.A.weight", "layer2.0.A_conv.weight"])
def test_copies_that_disagree_are_named(released_and_ours: tuple[Released, MgNet], key: str) -> None:
    released, ours = released_and_ours
    state = {name: tensor.clone() for name, tensor in released.state_dict().items()}
    state[key] += 1
    with pytest.raises(ValueError, match=r"key 'layer\d\.\d\.A\w*\.weight' differs from the other copies"):
        from_authors(state, ours)


@pytest.mark.parametrize("key", ["bn1.running_var", "layer1.0.Pi_conv.weight", "layer2.3.bn2.bias", "fc.bias"])
def test_a_missing_key_is_named(released_and_ours: tuple[Released, MgNet], key: str) -> None:
    released, ours = released_and_ours
    state = released.state_dict()
    del state[key]
    with pytest.raises(ValueError, match=f"key '{key}' is missing"):
        from_authors(state, ours)


def test_an_unknown_key_and_a_wrong_shape_are_named(released_and_ours: tuple[Released, MgNet]) -> None:
    released, ours = released_and_ours
    state = released.state_dict()
    with pytest.raises(ValueError, match=r"key 'layer7.0.A.weight' is unknown"):
        from_authors({**state, "layer7.0.A.weight": torch.zeros(1)}, ours)
    with pytest.raises(ValueError, match=r"key 'fc.weight' has shape \(3, 4\), MgNet\[2,1,3\].* needs \(5, 4\)"):
        from_authors({**state, "fc.weight": torch.zeros(3, 4)}, ours)
