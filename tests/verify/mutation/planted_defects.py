"""Defects planted in the source of the real model, each a one-place edit that keeps the file runnable.

`failures` tries every property on a pool of cases and says which of them notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain

from torch import nn

from mgnet_models import Notation
from mgnet_verify.check.example import Example
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.properties import FRESH_PROPERTIES, MODEL_PROPERTIES, Property
from mgnet_verify.testing.cases import Case
from verify.mutation.variants import edited


@dataclass(frozen=True, kw_only=True)
class Defect:
    """In `file`, `old` becomes `new`; `name` says what an engineer would have done wrong."""

    name: str
    file: str
    old: str
    new: str

    def network(self) -> Callable[..., nn.Module]:
        """The MgNet class with the defect."""
        return edited(self.file, self.old, self.new)


# What the edits look for, where it is long.
_CONV = "nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False, **dd)"
_A = "            conv(c_u, c_f, kernel=3, dd=dd),"
_B = "[conv(c_f, c_u, kernel=3, dd=dd) for _ in range(1 if share_B else nu)]"
_S = "sigma_u(self.smooth(i, sigma_r(r)))"
_R_STEP = "r = r - self.A(s)  # (4.5)"
_U_STEP = "u = u + self.correction(i, f - self.A(u))  # (3.5)"
_LAST = "if not (self.last and i == self.nu - 1):"
_LITERAL = "self.restrict(f - A_fine(u)) + A_coarse(u_coarse)  # (3.7)"
_DATA = "self.R_max(self.sigma(self.theta(image)))"
_ZERO = "torch.zeros((1, self.c_u, 1, 1), dtype=f.dtype, device=f.device), f"
_END = "        self.stem_kind = stem\n        self.init_weights()"
_TIE = "; [setattr(g, '{0}', self.grids[0].{0}) for g in self.grids if str(g.{0}) == str(self.grids[0].{0})]"


def _planted(file: str, old: str, edits: dict[str, str]) -> Iterator[Defect]:
    """One defect for each replacement of `old` in `file`, by name."""
    for name, new in edits.items():
        yield Defect(name=name, file=file, old=old, new=new)


def _in_layers() -> Iterator[Defect]:
    def conv(arguments: str, padding: str = "kernel // 2", bias: bool = False) -> str:
        return f"nn.Conv2d(c_in, c_out, kernel, stride=stride, padding={padding}, bias={bias}{arguments}, **dd)"

    yield from _planted(
        "layers",
        _CONV,
        {
            "bias in every convolution": conv("", bias=True),
            "no padding": conv("", padding="0"),
            "reflected padding": conv(", padding_mode='reflect'"),
            "periodic padding": conv(", padding_mode='circular'"),
            "replicated padding": conv(", padding_mode='replicate'"),
            "dilated kernels": conv(", dilation=2", padding="kernel - 1"),
            "transfers without stride": conv("").replace("stride=stride", "stride=1"),
            "even kernels": conv("").replace("kernel, ", "kernel + 1, "),
        },
    )


def _in_smoothing() -> Iterator[Defect]:
    yield from _planted(
        "smoothing",
        _S,
        {
            "B unused": "sigma_u(0 * self.smooth(i, r) + sigma_r(r).mean(1, keepdim=True))",
            "no sigma on r": "sigma_u(self.smooth(i, r))",
            "no sigma on the output of B": "self.smooth(i, sigma_r(r))",
            "sigma on r twice": "sigma_u(self.smooth(i, sigma_r(sigma_r(r))))",
            "r changed in place": "sigma_u(self.smooth(i, sigma_r(r.mul_(2))))",
            "correction detached": "sigma_u(self.smooth(i, sigma_r(r))).detach()",
            "residual detached": "sigma_u(self.smooth(i, sigma_r(r.detach())))",
            "hidden float32": "sigma_u(self.smooth(i, sigma_r(r)).float().to(r.dtype))",
            "hidden bfloat16": "sigma_u(self.smooth(i, sigma_r(r)).bfloat16().to(r.dtype))",
            "correction halved": "0.5 * sigma_u(self.smooth(i, sigma_r(r)))",
            "correction with noise": "sigma_u(self.smooth(i, sigma_r(r))) + (r.new_empty(1).uniform_() > 0.5)",
            "norm of r always in evaluation": "sigma_u(self.smooth(i, sigma_r.eval()(r)))",
            "norm of r always in training": "sigma_u(self.smooth(i, sigma_r.train()(r)))",
            "sigma_u of the first iteration in all": "self.sigma_u[0](self.smooth(i, sigma_r(r)))",
            "sigma_r of the first iteration in all": "sigma_u(self.smooth(i, self.sigma_r[0](r)))",
            "images of a batch mixed": "sigma_u(self.smooth(i, sigma_r(r - r.mean(0, keepdim=True))))",
            "correction transposed": "sigma_u(self.smooth(i, sigma_r(r)).flip(2))",
            "leaky correction": "sigma_u(self.smooth(i, sigma_r(r))) + sigma_r(r).mean(1, keepdim=True)",
        },
    )
    yield Defect(name="first B in every iteration", file="smoothing", old="self.share_B or step == i", new="step == 0")
    yield Defect(name="last B in every iteration", file="smoothing", old="self.share_B or step == i", new="True")
    yield Defect(name="sigma_r in reverse order", file="smoothing", old="zip(self.sigma_r,", new="zip(reversed(self.sigma_r),")
    yield Defect(
        name="one sigma_r for all iterations",
        file="smoothing",
        old="nn.ModuleList(sigma_r)",
        new="nn.ModuleList([sigma_r[0]] * len(sigma_r))",
    )
    yield Defect(name="B in a plain list", file="smoothing", old="nn.ModuleList(B)", new="list(B)")
    yield Defect(name="B frozen", file="smoothing", old="nn.ModuleList(B)", new="nn.ModuleList(B).requires_grad_(False)")


def _in_grid() -> Iterator[Defect]:
    yield from _planted(
        "grid",
        _R_STEP,
        {
            "plus in the residual form": "r = r + self.A(s)",
            "A on u in the residual form": "r = r - self.A(u)",
            "A depends on i in the residual form": "r = r - (i + 1) * self.A(s)",
            "nonlinear A in the residual form": "r = r - self.A(s).relu()",
            "A detached in the residual form": "r = r - self.A(s).detach()",
            "r halved": "r = 0.5 * (r - self.A(s))",
            "r scaled by its mean": "r = r - self.A(s) + 0 * r.mean() + r.mean().sign()",
        },
    )
    yield from _planted(
        "grid",
        _U_STEP,
        {
            "minus in the feature form": "u = u - self.correction(i, f - self.A(u))",
            "f plus A u": "u = u + self.correction(i, f + self.A(u))",
            "data in place of the residual": "u = u + self.correction(i, f)",
            "first correction in every iteration": "u = u + self.correction(0, f - self.A(u))",
            "A depends on i in the feature form": "u = u + self.correction(i, f - (i + 1) * self.A(u))",
            "nonlinear A in the feature form": "u = u + self.correction(i, f - self.A(u).relu())",
            "A turned upside down": "u = u + self.correction(i, f - self.A(u.flip(2)).flip(2))",
            "u forgotten": "u = self.correction(i, f - self.A(u))",
        },
    )
    yield from _planted(
        "grid",
        _LAST,
        {
            "last A skipped on every grid": "if i < self.nu - 1:",
            "last A of the last grid evaluated": "if True:",
            "A skipped on the last grid": "if not self.last:",
        },
    )
    yield Defect(name="bias in A", file="grid", old=_A, new="nn.Conv2d(c_u, c_f, 3, padding=1, **dd),")
    yield Defect(name="1x1 A", file="grid", old=_A, new="conv(c_u, c_f, kernel=1, dd=dd),")
    yield Defect(name="1x1 B", file="grid", old=_B, new=_B.replace("kernel=3", "kernel=1"))
    yield Defect(name="sharing rule of B inverted", file="grid", old="1 if share_B else nu", new="nu if share_B else 1")
    yield Defect(name="one iteration too few", file="grid", old="for i in range(self.nu):", new="for i in range(1, self.nu):")
    yield Defect(name="u forgotten in the residual form", file="grid", old="            u = u + s\n", new="            u = s\n")
    yield Defect(name="r returned in the place of u", file="grid", old="return self.feature(u), r", new="return self.feature(r), u")
    yield Defect(name="A never trained", file="grid", old="if last and nu == 1:", new="if True:")
    yield Defect(name="grid taken for the last", file="grid", old="last=index == len(notation.nu) - 1", new="last=True")


def _in_transfer() -> Iterator[Defect]:
    yield from _planted(
        "transfer",
        _LITERAL,
        {
            "A u of the coarse grid forgotten": "self.restrict(f - A_fine(u))",
            "A of the fine grid on both": "self.restrict(f - A_fine(u)) + A_fine(u_coarse)",
            "sign of A u in the restriction": "self.restrict(f + A_fine(u)) + A_coarse(u_coarse)",
            "data restricted in place of the residual": "self.restrict(f) + A_coarse(u_coarse)",
        },
    )
    yield Defect(name="no sigma after Pi", file="transfer", old="self.sigma_Pi(self.Pi(u))", new="self.Pi(u)")
    yield Defect(name="no sigma after R", file="transfer", old="self.sigma_R(self.R(r))", new="self.R(r)")
    yield Defect(name="u smoothed before Pi", file="transfer", old="self.Pi(u)", new="self.Pi((u + u.flip(3)) / 2)")
    yield Defect(name="even pixels restricted", file="transfer", old="self.R(r)", new="self.R(r.roll(1, 2))")
    yield Defect(name="R with one weight for all", file="transfer", old="self.R(r)", new="self.R(r - self.R(r).mean())")


def _in_the_rest() -> Iterator[Defect]:
    yield Defect(name="no sigma in the stem", file="stem", old=_DATA, new="self.R_max(self.theta(image))")
    yield Defect(name="average in place of the maximum", file="stem", old="nn.MaxPool2d", new="nn.AvgPool2d")
    yield Defect(name="pooling without padding", file="stem", old="stride=2, padding=1) if", new="stride=2) if")
    yield Defect(name="u starts at one", file="stem", old="torch.zeros((1", new="torch.ones((1")
    yield Defect(name="u starts at f", file="stem", old=_ZERO, new="f.mean(1, keepdim=True).expand(-1, self.c_u, -1, -1), f")
    yield Defect(name="head reads r", file="classifier", old="self.grids(self.stem(x))[0]", new="self.grids(self.stem(x))[1]")
    yield Defect(
        name="features scaled", file="classifier", old="self.grids(self.stem(x))[0]", new="self.grids(self.stem(x / 2))[0]"
    )
    yield Defect(name="maximum over pixels", file="model", old="pool_type=global_pool", new="pool_type='max'")
    yield Defect(
        name="classes and one more",
        file="model",
        old="ClassifierHead(c_u[-1], num_classes",
        new="ClassifierHead(c_u[-1], num_classes + 1",
    )
    yield Defect(name="feature form on one grid", file="model", old="list(self.grids)):", new="list(self.grids)[:1]):")
    yield Defect(name="kernels as torch starts them", file="model", old=_END, new="        self.stem_kind = stem")
    for name, line in {
        "A shared across grids": _TIE.format("A"),
        "B shared across grids": _TIE.format("B"),
        "unused buffer": "; self.register_buffer('spare', torch.zeros(1))",
        "unused parameter": "; self.spare = nn.Parameter(torch.zeros(1))",
        "eps of sigma": "; [setattr(m, 'eps', 1e-3) for m in self.modules() if hasattr(m, 'eps')]",
        "momentum of sigma": "; [setattr(m, 'momentum', 0.01) for m in self.modules() if hasattr(m, 'eps')]",
        "stem frozen": "; self.stem.requires_grad_(False)",
    }.items():
        yield Defect(name=name, file="model", old=_END, new=_END + line)


DEFECTS = tuple(chain(_in_layers(), _in_smoothing(), _in_grid(), _in_transfer(), _in_the_rest()))


ALL_PROPERTIES = (*MODEL_PROPERTIES[:1], *FRESH_PROPERTIES, *MODEL_PROPERTIES[1:])


@cache
def pool() -> tuple[Case, ...]:
    """A few cases that differ in every respect: one to three grids, both rules of sharing, both stems, odd sizes, batch 1."""
    rows = (
        ("MgNet[2]-[(2,3)]-B^l", "cifar", 3, False, (1, 2, 5, 4)),
        ("MgNet[1,2]-[(3,2),(2,3)]-B^{l,i}", "cifar", 3, False, (2, 1, 4, 7)),
        ("MgNet[2,1]-[3]-B^{l,i}", "cifar", 3, False, (3, 3, 6, 5)),
        ("MgNet[3,2]-[2]-B^l", "cifar", 1, True, (2, 3, 5, 5)),
        ("MgNet[2,1,2]-[(2,1),(3,2),(3,3)]-B^{l,i}", "imagenet", 3, False, (2, 3, 17, 19)),
        ("MgNet[1]-[3]-B^{l,i}", "cifar", 3, False, (1, 1, 3, 3)),
    )
    return tuple(
        Case(
            notation=Notation.parse(notation),
            stem=stem,  # type: ignore[arg-type]
            in_chans=shape[1],
            num_classes=2,
            transfer_kernel=kernel,
            transfer_linear=linear,
            example=Example(seed=seed, shape=shape, amplitude=(3, 2**12 + 1, 2**24 + 1)[seed % 3]),
        )
        for seed, (notation, stem, kernel, linear, shape) in enumerate(rows)
    )


def failures(network: Callable[..., nn.Module], properties: Iterable[Property] = ALL_PROPERTIES) -> Iterator[tuple[str, str]]:
    """The properties that fail on some case of the pool, each with a violation, or with a crash if none is violated."""
    for checked in properties:
        failure = _failure(checked, network)
        if failure is not None:
            yield checked.name, failure


def _failure(checked: Property, network: Callable[..., nn.Module]) -> str | None:
    crash: str | None = None
    for case in pool():
        try:
            model = case.model(network)
            if checked.applies_to(model):
                checked.check(model, case.example)
        except NotDecided:
            continue
        except Violation as violation:
            return f"Violation: {violation}"
        except Exception as failure:  # whatever a wrong network raises
            crash = f"{type(failure).__name__}: {failure}"
    return crash
