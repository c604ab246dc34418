"""The study on digits: which orderings of the paper's tables reappear at small size, at equal budget, over seeds.

A study is a value: its arms say what is trained. An arm that stands for a printed row carries the row's id, and every
pair of arms whose rows share a table and a data set is an ordering that the paper prints. Accuracies on digits say
nothing about CIFAR; only orderings are compared, each against its spread over the seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mgnet_train.config.run_spec import RunSpec, make_spec
from mgnet_train.errors import unknown
from mgnet_train.provenance import Commit

_FORMS = ("lin", "pre", "post", "both")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One network, trained once for each seed. `row` is the id of the printed row it stands for, if there is one."""

    group: str
    label: str
    model: str
    model_args: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    row: str | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """The arms and what all of them have in common."""

    name: str
    dataset: str
    seeds: int
    arms: tuple[Arm, ...]

    def specs(self, arm: Arm, *, seeds: int, commit: Commit, device: str) -> list[RunSpec]:
        """The runs of one arm."""
        return [
            make_spec(
                arm.model,
                dataset=self.dataset,
                recipe=None,
                overrides=arm.overrides,
                seed=seed,
                commit=commit,
                device=device,
                model_args=arm.model_args,
            )
            for seed in range(seeds)
        ]


def find_study(name: str) -> Study:
    """The study with a name; UserError, with near names, when there is none."""
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    return STUDIES[name]


def _gdfi() -> tuple[Arm, ...]:
    """Table 1 with three grids of 8, 16 and 32 channels, two iterations each."""
    return tuple(
        Arm(
            group="table1",
            label=f"A {a}, B {b}",
            model=f"gdfi_{a}_{b}",
            model_args={"notation": "MgNet[2,2,2]-[8,16,32]-B^{l,i}"},
            row=f"v2/table1/gdfi_A-{a}_B-{b}/cifar10",
        )
        for a in _FORMS
        for b in _FORMS
    )


def _resnets() -> tuple[Arm, ...]:
    """Table 3: the ResNets of 18 layers at an eighth of their width, 8 to 64 channels."""
    families = (("mgresnet18", "resnet18", "ResNet"), ("mgpreactresnet18", "preact_resnet18", "pre-act ResNet"))
    return tuple(
        Arm(
            group="table3",
            label=f"{label} {a_label}-{b_label}",
            model=f"{model}_{a}_{b}",
            model_args={"channels": [8, 16, 32, 64]},
            row=f"v2/table3/{row}_{a_label}-{b_label}/cifar100",
        )
        for model, row, label in families
        for a, a_label in (("ali", "Ai"), ("al", "A"))
        for b, b_label in (("bli", "Bi"), ("bl", "B"))
    )


def _mgnets() -> tuple[Arm, ...]:
    """Tables 7 and 10: three grids of 16 channels, nu_1 iterations on the first, B shared or not."""
    printed = {2, 4, 8}
    return tuple(
        Arm(
            group="table10",
            label=f"nu_1={nu} {notation}",
            model=f"MgNet[{nu},2,2]-[16]-{notation}",
            row=f"v2/table10/mgnet_{nu}-2-2-2_c256_{row}/cifar100" if nu in printed else None,
        )
        for nu in (1, 2, 4, 8)
        for notation, row in (("B^l", "B"), ("B^{l,i}", "Bi"))
    )


def _forms() -> tuple[Arm, ...]:
    """One network executed in both of its forms: the same function, rounded differently."""
    return tuple(
        Arm(group="forms", label=form, model="mgnet_2_2_c32_bl", overrides={"form": form}) for form in ("residual", "literal")
    )


def _sparse_coding() -> tuple[Arm, ...]:
    """Sparse coding: Res-CSC of 8 layers with and without D2 u, MSD-CSC of 6 dense layers with and without unfolding."""
    rescsc = tuple(
        Arm(
            group="csc",
            label=f"Res-CSC {variant}",
            model="rescsc20",
            model_args={"blocks": [1, 1, 1], "variant": variant},
        )
        for variant in ("A", "B")
    )
    small = {"blocks": 2, "layers": 3, "growth": 4, "stem_channels": 8}
    msdcsc = tuple(
        Arm(group="csc", label=f"MSD-CSC unfold={unfold}", model="msdcsc40_k12", model_args={**small, "unfold": unfold})
        for unfold in (0, 1)
    )
    return rescsc + msdcsc


STUDIES = {
    "digits": Study(
        name="digits",
        dataset="digits",
        seeds=5,
        arms=(*_gdfi(), *_resnets(), *_mgnets(), *_forms(), *_sparse_coding()),
    )
}
