"""A network that cannot be examined is FAIL or not decided, with the reason: never bad input, never a traceback."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import mgnet_models  # noqa: F401, registers the names
from mgnet_records.certificate import Certificate, fault_of
from mgnet_verify import MODEL_PROPERTIES, ModelSpec, certify
from mgnet_verify.check.executions import executions_of
from mgnet_verify.check.run import run_property
from mgnet_verify.cli import main
from mgnet_verify.network.subject import limits_of


def small() -> nn.Module:
    return timm.create_model("mgnet", notation="MgNet[1,1]-[3]-B^l", num_classes=2).eval()


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no\nsuch \x07 thing")


def raises_in_forward(model: Any) -> nn.Module:
    model.grids[1].sigma_r[0] = nn.Sequential(Raising())
    return model


def raises_in_the_head(model: Any) -> nn.Module:
    model.head.drop = Raising()
    return model


def with_nan(model: Any) -> nn.Module:
    with torch.no_grad():
        model.grids[0].A.weight[0, 0, 0, 0] = torch.nan
    return model


def with_negative_variance(model: Any) -> nn.Module:
    model.stem.sigma.running_var.fill_(-1)
    return model


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randint(0, 2, (1,))


def not_deterministic(model: Any) -> nn.Module:
    model.grids[0].feature = Noisy()
    return model


def with_a_custom_layer(model: Any) -> nn.Module:
    model.grids[0].sigma_u[0] = nn.GroupNorm(1, 3)
    return model


def without_memory(model: nn.Module) -> nn.Module:
    return model.to("meta")


def that_cannot_be_copied(model: Any) -> nn.Module:
    model.generator = (i for i in range(3))
    return model


def with_a_view_that_raises(model: Any) -> nn.Module:
    model.mgnet_view = lambda: 1 / 0
    return model


def of_no_family(model: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten())


WRONG: dict[Callable[[Any], nn.Module], tuple[str, str]] = {
    raises_in_forward: ("not_decided", "sigma is Sequential"),
    raises_in_the_head: ("fail", "raises RuntimeError: no such thing"),
    with_nan: ("fail", "grids.0.A.weight holds nan"),
    with_negative_variance: ("fail", "stem.sigma.running_var holds a negative variance"),
    not_deterministic: ("fail", "the specification says"),
    with_a_custom_layer: ("not_decided", "GroupNorm"),
    without_memory: ("not_decided", "no copy in float64"),
    that_cannot_be_copied: ("not_decided", "no copy in float64"),
    with_a_view_that_raises: ("fail", "ZeroDivisionError"),
    of_no_family: ("not_decided", "no specification of Sequential"),
}


def certificate_of(model: nn.Module) -> Certificate:
    certificate = certify(ModelSpec(name="one", model=model), examples=1, image=(6, 6))
    assert fault_of(certificate) is None
    return certificate


# They fail one property and run all others.
THOROUGH = (with_nan, with_negative_variance, not_deterministic)


@pytest.mark.parametrize(
    "spoil",
    [pytest.param(spoil, marks=[pytest.mark.nightly] * (spoil in THOROUGH)) for spoil in WRONG],
    ids=lambda spoil: spoil.__name__.replace("_", " "),
)
def test_it_gets_a_certificate_with_the_reason(spoil: Callable[[Any], nn.Module]) -> None:
    status, reason = WRONG[spoil]
    certificate = certificate_of(spoil(small()))
    assert certificate.status == status or certificate.status == "fail"
    assert any(reason in checked.detail for checked in certificate.properties), [c.detail for c in certificate.properties]


def equality_of(model: nn.Module) -> str:
    executions = tuple(execution for execution in executions_of(model) if not execution.slow)
    return run_property(model, limits_of(model), MODEL_PROPERTIES[0], examples=1, executions=executions).status


@pytest.mark.parametrize("spoil", [with_nan, with_negative_variance], ids=lambda spoil: spoil.__name__.replace("_", " "))
def test_numbers_that_are_none_are_found(spoil: Callable[[Any], nn.Module]) -> None:
    model = spoil(small())
    (checked,) = (checked for checked in MODEL_PROPERTIES if checked.name == "tensors_are_sound")
    assert WRONG[spoil][1] in run_property(model, limits_of(model), checked).detail


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_network_of_another_dtype_is_examined(dtype: torch.dtype) -> None:
    assert equality_of(small().to(dtype)) == "pass"


@pytest.mark.parametrize("wrap", [nn.Sequential, nn.DataParallel, torch.optim.swa_utils.AveragedModel], ids=lambda w: w.__name__)
def test_a_network_in_a_wrapper_is_examined_as_what_the_wrapper_computes(wrap: Callable[[nn.Module], nn.Module]) -> None:
    assert equality_of(wrap(small())) == "pass"


def test_the_command_ends_with_1_and_says_not_decided(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "resnet18"]) == 1
    out = capsys.readouterr().out
    assert "no specification of ResNet" in out
    assert out.splitlines()[-1].startswith("NOT DECIDED")
