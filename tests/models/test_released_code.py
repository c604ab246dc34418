"""Checkpoints in the layout of the authors' released code load, and every mismatch is an error that names the key."""

from pathlib import Path

import pytest
import timm
import torch
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


def test_the_file_that_the_released_training_script_saves_loads_too(
    released_and_ours: tuple[Released, MgNet], tmp_path: Path
) -> None:
    released, ours = released_and_ours
    optimizer = torch.optim.SGD(released.parameters(), lr=0.1)
    saved = {"epoch": 3, "model_state_dict": released.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save(saved, tmp_path / "released.pt")
    load_authors_checkpoint(ours, tmp_path / "released.pt")
    assert torch.equal(grids_of(ours)[2].A.weight, released.get_parameter("layer2.1.A.weight"))


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
