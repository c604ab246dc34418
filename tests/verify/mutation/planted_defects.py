"""Defects planted in the source of mgnet-models, each a one-place edit that keeps the file runnable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from verify.mutation.variants import Variant, edited


@dataclass(frozen=True, kw_only=True)
class Defect:
    """In `file`, `old` becomes `new`; `name` says what an engineer would have done wrong."""

    name: str
    file: str
    old: str
    new: str

    def variant(self) -> Variant:
        """The package with the defect."""
        return edited(self.file, self.old, self.new)


# What the edits look for, where it is long or used more than once.
_CONV = "nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False, **dd)"
_A = "conv(c_u, c_f, kernel=3, dd=dd)"
_B = "nn.ModuleList(conv(c_f, c_u, kernel=3, dd=dd) for _ in range(1 if share_B else nu))"
_SIGMA_R = "nn.ModuleList(sigma_before(form_B, c_f, norm_act) for _ in range(nu))"
_S = "self.sigma_u[i](B(self.sigma_r[i](r)))"
_CHOICE_OF_B = "self.B[0 if self.share_B else i]"
_R_STEP = "r - self.A(s)  # (4.5)"
_U_STEP = "u = u + self.correction(i, f - self.A(u))  # (3.5)"
_LAST = "self.last and i == self.nu - 1"
_FEATURE = "self.restrict(f - A_fine(u)) + A_coarse(u_coarse)  # (3.7)"
_DATA = "self.R_max(self.sigma(self.theta(image)))"
_ZERO = "zero.expand(f.shape[0], self.c_u, f.shape[2], f.shape[3]), f"
_END = '        self.recompute = "none"  # the mode that set_recompute chose\n        self.init_weights()'
_TIE = "\n        [setattr(g, '{0}', self.grids[0].{0}) for g in self.grids if str(g.{0}) == str(self.grids[0].{0})]"


def _planted(file: str, old: str, edits: dict[str, str]) -> Iterator[Defect]:
    """One defect for each replacement of `old` in `file`, by name."""
    for name, new in edits.items():
        yield Defect(name=name, file=file, old=old, new=new)


def _in_layers() -> Iterator[Defect]:
    def conv(arguments: str, padding: str = "kernel // 2", bias: bool = False) -> str:
        return f"nn.Conv2d(c_in, c_out, kernel, stride=stride, padding={padding}, bias={bias}{arguments}, **dd)"

    yield from _planted(
        "nn.layers",
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


def _in_the_correction() -> Iterator[Defect]:
    yield from _planted(
        "mgnet.grid",
        _S,
        {
            "B unused": "self.sigma_u[i](0 * B(r) + self.sigma_r[i](r).mean(1, keepdim=True))",
            "no sigma on r": "self.sigma_u[i](B(r))",
            "no sigma on the output of B": "B(self.sigma_r[i](r))",
            "sigma on r twice": "self.sigma_u[i](B(self.sigma_r[i](self.sigma_r[i](r))))",
            "r changed in place": "self.sigma_u[i](B(self.sigma_r[i](r.mul_(2))))",
            "correction detached": "self.sigma_u[i](B(self.sigma_r[i](r))).detach()",
            "residual detached": "self.sigma_u[i](B(self.sigma_r[i](r.detach())))",
            "hidden float32": "self.sigma_u[i](B(self.sigma_r[i](r)).float().to(r.dtype))",
            "hidden bfloat16": "self.sigma_u[i](B(self.sigma_r[i](r)).bfloat16().to(r.dtype))",
            "correction halved": "(0.5 * self.sigma_u[i](B(self.sigma_r[i](r))))",
            "correction with noise": "(self.sigma_u[i](B(self.sigma_r[i](r))) + (r.new_empty(1).uniform_() > 0.5))",
            "norm of r always in evaluation": "self.sigma_u[i](B(self.sigma_r[i].eval()(r)))",
            "norm of r always in training": "self.sigma_u[i](B(self.sigma_r[i].train()(r)))",
            "sigma_u of the first iteration in all": "self.sigma_u[0](B(self.sigma_r[i](r)))",
            "sigma_r of the first iteration in all": "self.sigma_u[i](B(self.sigma_r[0](r)))",
            "sigma_r in reverse order": "self.sigma_u[i](B(self.sigma_r[-1 - i](r)))",
            "images of a batch mixed": "self.sigma_u[i](B(self.sigma_r[i](r - r.mean(0, keepdim=True))))",
            "correction transposed": "self.sigma_u[i](B(self.sigma_r[i](r)).flip(2))",
            "leaky correction": "(self.sigma_u[i](B(self.sigma_r[i](r))) + self.sigma_r[i](r).mean(1, keepdim=True))",
        },
    )
    yield Defect(name="first B in every iteration", file="mgnet.grid", old=_CHOICE_OF_B, new="self.B[0]")
    yield Defect(name="last B in every iteration", file="mgnet.grid", old=_CHOICE_OF_B, new="self.B[-1]")
    yield Defect(
        name="one sigma_r for all iterations",
        file="mgnet.grid",
        old=_SIGMA_R,
        new="nn.ModuleList([sigma_before(form_B, c_f, norm_act)] * nu)",
    )
    yield Defect(name="B in a plain list", file="mgnet.grid", old=_B, new=_B.replace("nn.ModuleList", "list"))
    yield Defect(name="B frozen", file="mgnet.grid", old=_B, new=f"{_B}.requires_grad_(False)")
    yield Defect(name="1x1 A", file="mgnet.grid", old=_A, new=_A.replace("kernel=3", "kernel=1"))
    yield Defect(name="bias in A", file="mgnet.grid", old=_A, new="nn.Conv2d(c_u, c_f, 3, padding=1, **dd)")
    yield Defect(name="1x1 B", file="mgnet.grid", old=_B, new=_B.replace("kernel=3", "kernel=1"))
    yield Defect(name="sharing rule of B inverted", file="mgnet.grid", old="1 if share_B else nu", new="nu if share_B else 1")


def _in_the_iterations() -> Iterator[Defect]:
    yield from _planted(
        "mgnet.grid",
        _R_STEP,
        {
            "plus in the residual form": "r + self.A(s)",
            "A on r in the residual form": "r - self.A(self.sigma_u[i](s) + s)",
            "A depends on i in the residual form": "r - (i + 1) * self.A(s)",
            "nonlinear A in the residual form": "r - self.A(s).relu()",
            "A detached in the residual form": "r - self.A(s).detach()",
            "r halved": "0.5 * (r - self.A(s))",
            "r scaled by its mean": "r - self.A(s) + 0 * r.mean() + r.mean().sign()",
        },
    )
    yield from _planted(
        "mgnet.grid",
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
        "mgnet.grid",
        _LAST,
        {
            "last A skipped on every grid": "i == self.nu - 1",
            "last A of the last grid evaluated": "False",
            "A skipped on the last grid": "self.last",
        },
    )
    yield Defect(name="one iteration too few", file="mgnet.grid", old="for i in range(self.nu):", new="for i in range(1, self.nu):")
    yield Defect(
        name="u forgotten in the residual form", file="mgnet.grid", old="            u = u + s\n", new="            u = s\n"
    )
    yield Defect(
        name="r returned in the place of u", file="mgnet.grid", old="return self.feature(u), r", new="return self.feature(r), u"
    )
    yield Defect(name="A never trained", file="mgnet.grid", old="if self.last and self.nu == 1:", new="if True:")
    yield Defect(name="grid taken for the last", file="mgnet.grid", old="last=index == len(notation.nu) - 1", new="last=True")
    yield Defect(
        name="paths dropped alike in all iterations",
        file="mgnet.grid",
        old="islice(rates, nu)",
        new="[drop_path_rate] * nu",
    )


def _in_transfer() -> Iterator[Defect]:
    yield from _planted(
        "mgnet.transfer",
        _FEATURE,
        {
            "A u of the coarse grid forgotten": "self.restrict(f - A_fine(u))",
            "A of the fine grid on both": "self.restrict(f - A_fine(u)) + A_fine(u_coarse)",
            "sign of A u in the restriction": "self.restrict(f + A_fine(u)) + A_coarse(u_coarse)",
            "data restricted in place of the residual": "self.restrict(f) + A_coarse(u_coarse)",
        },
    )
    yield Defect(name="no sigma after Pi", file="mgnet.transfer", old="self.sigma_Pi(self.Pi(u))", new="self.Pi(u)")
    yield Defect(name="no sigma after R", file="mgnet.transfer", old="self.sigma_R(self.R(r))", new="self.R(r)")
    yield Defect(name="u smoothed before Pi", file="mgnet.transfer", old="self.Pi(u)", new="self.Pi((u + u.flip(3)) / 2)")
    yield Defect(name="even pixels restricted", file="mgnet.transfer", old="self.R(r)", new="self.R(r.roll(1, 2))")
    yield Defect(name="R with one weight for all", file="mgnet.transfer", old="self.R(r)", new="self.R(r - self.R(r).mean())")


def _in_the_network() -> Iterator[Defect]:
    yield Defect(name="no sigma in the stem", file="mgnet.stem", old=_DATA, new="self.R_max(self.theta(image))")
    yield Defect(name="average in place of the maximum", file="mgnet.stem", old="nn.MaxPool2d", new="nn.AvgPool2d")
    yield Defect(name="pooling without padding", file="mgnet.stem", old="stride=2, padding=1) if", new="stride=2) if")
    yield Defect(name="u starts at one", file="mgnet.stem", old="torch.zeros((1", new="torch.ones((1")
    yield Defect(name="u starts at f", file="mgnet.stem", old=_ZERO, new="f.mean(1, keepdim=True).expand(-1, self.c_u, -1, -1), f")
    features = "self.grids(self.stem(x))[0]"
    yield Defect(name="head reads r", file="nn.classifier", old=features, new="self.grids(self.stem(x))[1]")
    yield Defect(name="features scaled", file="nn.classifier", old=features, new="self.grids(self.stem(x / 2))[0]")
    yield Defect(name="maximum over pixels", file="mgnet.model", old="pool_type=global_pool", new="pool_type='max'")
    yield Defect(
        name="classes and one more",
        file="mgnet.model",
        old="ClassifierHead(notation.c_u[-1], num_classes",
        new="ClassifierHead(notation.c_u[-1], num_classes + 1",
    )
    yield Defect(name="feature form on one grid", file="mgnet.model", old="self.grids):", new="list(self.grids)[:1]):")
    start = _END.removesuffix("\n        self.init_weights()")
    yield Defect(name="kernels as torch initializes them", file="mgnet.model", old=_END, new=start)
    for name, line in {
        "A shared across grids": _TIE.format("A"),
        "B shared across grids": _TIE.format("B"),
        "unused buffer": "; self.register_buffer('spare', __import__('torch').zeros(1))",
        "unused parameter": "; self.spare = nn.Parameter(__import__('torch').zeros(1))",
        "eps of sigma": "; [setattr(m, 'eps', 1e-3) for m in self.modules() if hasattr(m, 'eps')]",
        "momentum of sigma": "; [setattr(m, 'momentum', 0.01) for m in self.modules() if hasattr(m, 'eps')]",
        "stem frozen": "; self.stem.requires_grad_(False)",
    }.items():
        yield Defect(name=name, file="mgnet.model", old=_END, new=_END + line)


def _in_the_duality() -> Iterator[Defect]:
    file = "mgnet.duality"
    yield Defect(name="A with its own sign", file=file, old="-self.weight, None", new="self.weight, None")
    yield Defect(name="A negated in the copy alone", file=file, old="        negated.weight.neg_()\n", new="        pass\n")
    yield Defect(name="A not negated on the way back", file=file, old="grid.A.weight.neg_()", new="grid.A.weight.abs_()")
    yield Defect(name="last residual not computed", file=file, old="grid.last = False", new="grid.last = grid.last")
    yield Defect(name="no sigma after the restriction", file=file, old="self.sigma_R(self.R(r))", new="self.R(r)")
    yield Defect(name="no restriction", file=file, old="r = self.restriction(r)", new="r = r + 0 * r")
    yield Defect(name="the MgNet is taken apart", file=file, old="copy.deepcopy(mgnet)", new="mgnet")
    yield Defect(name="the converted network in training", file=file, old=".train(mgnet.training)", new=".train()")
    yield Defect(name="u in the place of r", file=file, old="self.f_in(image)[1]", new="self.f_in(image)[0]")
    yield Defect(
        name="A of the pre-act ResNet frozen", file=file, old="grid.A.requires_grad_(True)", new="grid.A.requires_grad_(False)"
    )


def _in_folding() -> Iterator[Defect]:
    file = "runtime.folding"
    yield Defect(name="eps forgotten", file=file, old="torch.rsqrt(var + norm.eps)", new="torch.rsqrt(var)")
    yield Defect(name="mean not scaled", file=file, old="- mean * scale", new="- mean")
    yield Defect(
        name="bias forgotten", file=file, old="nn.Parameter(shift.to(weight.dtype))", new="nn.Parameter(0 * shift.to(weight.dtype))"
    )
    yield Defect(name="folded on the input channels", file=file, old="scale[:, None, None, None]", new="scale.mean()")
    yield Defect(name="one folded B for all", file=file, old="grid.share_B = False", new="grid.share_B = True")
    yield Defect(
        name="no activation on r",
        file=file,
        old="nn.Sequential(ScaleShift(sigma_r), _activation(sigma_r))",
        new="ScaleShift(sigma_r)",
    )
    yield Defect(
        name="Pi not folded",
        file=file,
        old="_fold(grid.transfer.Pi, grid.transfer.sigma_Pi)",
        new="(grid.transfer.Pi, nn.Identity())",
    )
    yield Defect(name="the network itself folded", file=file, old="folded = copy.deepcopy(model)", new="folded = model")
    yield Defect(name="left in training", file=file, old="    folded.eval()", new="    folded.train()")
    yield Defect(
        name="sigma in place on r",
        file=file,
        old="torch.addcmul(self.shift, x, self.scale)",
        new="x.mul_(self.scale).add_(self.shift)",
    )


DEFECTS = tuple(
    chain(
        _in_layers(),
        _in_the_correction(),
        _in_the_iterations(),
        _in_transfer(),
        _in_the_network(),
        _in_the_duality(),
        _in_folding(),
    )
)
