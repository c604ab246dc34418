"""Studies: variants compared at equal budget over seeds, on a data set that is small enough.

A study is a value: its variants say what is trained. One that corresponds to a table row of the paper carries the row's id.
This package trains the runs; what they say, with intervals and tests, is `mgnet-leaderboard study`. Accuracies on digits say
nothing about CIFAR, so only orderings are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from mgnet_records.errors import unknown
from mgnet_records.provenance import CodeState
from mgnet_train.config.execution import Execution
from mgnet_train.config.run_spec import RunSpec, make_spec

_MAP_FORMS = ("lin", "pre", "post", "both")
_SMALL_GDFI = "MgNet[2,2,2]-[8,16,32]-B^{l,i}"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network, trained once for each seed. `row` is the id of the table row that it corresponds to, if there is one.

    `execution` holds settings of the execution that are the variant's own.
    """

    group: str
    label: str
    model: str
    model_args: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, str] = field(default_factory=dict)
    row: str | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """The variants and what all of them have in common."""

    name: str
    dataset: str
    seeds: int
    variants: tuple[Variant, ...]

    def specs(
        self, variant: Variant, *, seeds: int, code: CodeState, device: str, execution: Execution | None = None
    ) -> list[RunSpec]:
        """The runs of one variant, one for each seed."""
        return [
            make_spec(
                variant.model,
                dataset=self.dataset,
                seed=seed,
                code=code,
                device=device,
                execution=(execution or Execution()).with_overrides(variant.execution),
                model_args=variant.model_args,
            )
            for seed in range(seeds)
        ]

    def plan(
        self,
        *,
        groups: Sequence[str] | None,
        seeds: int | None,
        code: CodeState,
        device: str,
        execution: Execution | None = None,
    ) -> list[RunSpec]:
        """The runs of all variants (of some groups), seed by seed, so that a study cut short has whole variants to compare.

        Raises InputError for a group that the study does not have.
        """
        known = {variant.group for variant in self.variants}
        for group in groups or ():
            if group not in known:
                raise unknown("group of the study", group, known)
        by_variant = [
            self.specs(variant, seeds=seeds or self.seeds, code=code, device=device, execution=execution)
            for variant in self.variants
            if not groups or variant.group in groups
        ]
        return [spec for same_seed in zip_longest(*by_variant) for spec in same_seed if spec is not None]


def find_study(name: str) -> Study:
    """The study with a name. Raises InputError, with near names, when there is none."""
    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    return STUDIES[name]


def _gdfi() -> tuple[Variant, ...]:
    """Table 1 with three grids of 8, 16 and 32 channels, two iterations each."""
    return tuple(
        Variant(
            group="table1",
            label=f"A {a}, B {b}",
            model=f"gdfi_{a}_{b}",
            model_args={"notation": _SMALL_GDFI},
            row=f"v2/table1/gdfi_A-{a}_B-{b}/cifar10",
        )
        for a in _MAP_FORMS
        for b in _MAP_FORMS
    )


def _transfers() -> tuple[Variant, ...]:
    """Table 1 again, each scheme with the three kinds of transfers; "norm_act" is the default of the networks."""
    return tuple(
        Variant(
            group=sigma,
            label=f"A {a}, B {b}, transfers {sigma}",
            model=f"gdfi_{a}_{b}",
            model_args={"notation": _SMALL_GDFI} | ({} if sigma == "norm_act" else {"transfer_sigma": sigma}),
        )
        for sigma in ("none", "norm", "norm_act")
        for a in _MAP_FORMS
        for b in _MAP_FORMS
    )


def _resnets() -> tuple[Variant, ...]:
    """Table 3: the ResNets of 18 layers at an eighth of their width, 8 to 64 channels."""
    families = (("mgresnet18", "resnet18", "ResNet"), ("mgpreactresnet18", "preact_resnet18", "pre-act ResNet"))
    return tuple(
        Variant(
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


def _mgnets() -> tuple[Variant, ...]:
    """Tables 7 and 10: three grids of 16 channels, nu_1 iterations on the first, B shared or not."""
    in_the_paper = {2, 4, 8}
    return tuple(
        Variant(
            group="table10",
            label=f"nu_1={nu} {notation}",
            model=f"MgNet[{nu},2,2]-[16]-{notation}",
            row=f"v2/table10/mgnet_{nu}-2-2-2_c256_{row}/cifar100" if nu in in_the_paper else None,
        )
        for nu in (1, 2, 4, 8)
        for notation, row in (("B^l", "B"), ("B^{l,i}", "Bi"))
    )


def _forms() -> tuple[Variant, ...]:
    """One network in both of its forms: the same function, rounded differently."""
    return tuple(
        Variant(group="forms", label=form, model="mgnet_2_2_c32_bl", execution={"form": form}) for form in ("residual", "feature")
    )


def _sparse_coding() -> tuple[Variant, ...]:
    """Sparse coding: Res-CSC of 8 layers with and without D2 u, MSD-CSC of 6 dense layers with and without unfolding."""
    rescsc = tuple(
        Variant(
            group="csc",
            label=f"Res-CSC {kind}",
            model="rescsc20",
            model_args={"blocks": [1, 1, 1], "variant": kind},
        )
        for kind in ("A", "B")
    )
    small = {"blocks": 2, "layers": 3, "growth": 4, "stem_channels": 8}
    msdcsc = tuple(
        Variant(group="csc", label=f"MSD-CSC unfold={unfold}", model="msdcsc40_k12", model_args={**small, "unfold": unfold})
        for unfold in (0, 1)
    )
    return rescsc + msdcsc


STUDIES = {
    "digits": Study(
        name="digits",
        dataset="digits",
        seeds=5,
        variants=(*_gdfi(), *_resnets(), *_mgnets(), *_forms(), *_sparse_coding()),
    ),
    "transfers": Study(name="transfers", dataset="digits", seeds=10, variants=_transfers()),
}
