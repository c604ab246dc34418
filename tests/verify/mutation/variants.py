"""mgnet-models with a change in its source, loaded beside the real package: for planted defects and for the mutation engine."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.resources import files
from types import ModuleType
from typing import Any

from torch import nn

# The modules that compute a MgNet, and how. What else they import, as the notation, a variant shares with the package.
FILES = (
    "nn.layers",
    "nn.classifier",
    "mgnet.transfer",
    "mgnet.grid",
    "mgnet.stem",
    "mgnet.model",
    "mgnet.duality",
    "runtime",  # gives MgNet its methods
    "runtime.recompute",
    "runtime.folding",
    "runtime.convolution",
)
_PACKAGES = ("", "nn", "mgnet", "runtime")
_REAL, _PRIVATE = "mgnet_models", "mgnet_models_variant"


def source(file: str) -> str:
    """The text of one of FILES."""
    path = file.replace(".", "/") + ("/__init__.py" if file in _PACKAGES else ".py")
    return files(_REAL).joinpath(path).read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A loaded variant. Its names are read from its own modules, so that a change in any of them takes effect."""

    modules: Mapping[str, ModuleType]

    @property
    def MgNet(self) -> Callable[..., nn.Module]:  # noqa: N802, the class
        """The class MgNet."""
        return self["mgnet.model", "MgNet"]

    def __getitem__(self, place: tuple[str, str]) -> Any:
        """A name of one of FILES."""
        file, name = place
        return getattr(self.modules[file], name)


def installed() -> Variant:
    """The real package, as a variant without a change."""
    return Variant(modules={file: importlib.import_module(f"{_REAL}.{file}") for file in FILES})


def load(changes: Mapping[str, str | ast.Module]) -> Variant:
    """The variant in which the files named in `changes` have those texts or syntax trees.

    It lives under a private name and replaces the variant before; the real package is untouched. All FILES are imported
    at once, since some import others only when called.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == _PRIVATE]:
        del sys.modules[name]
    with _finding(_VariantFinder(changes)):
        return Variant(modules={file: importlib.import_module(f"{_PRIVATE}.{file}") for file in FILES})


def edited(file: str, old: str, new: str) -> Variant:
    """The variant in which `old`, which must occur in the file, is replaced by `new` everywhere in it."""
    text = source(file)
    if old not in text:
        raise ValueError(f"{old!r} does not occur in {file}: the planted defect must follow the code")
    return load({file: text.replace(old, new)})


class _VariantFinder(MetaPathFinder, Loader):
    """Finds and executes the modules of the private package."""

    def __init__(self, changes: Mapping[str, str | ast.Module]) -> None:
        self.changes = changes

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for names under the private package alone."""
        top, _, file = name.partition(".")
        return ModuleSpec(name, self, is_package=file in _PACKAGES) if top == _PRIVATE else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the file, changed or not, with its imports of FILES redirected; a package that is none of FILES is empty."""
        file = module.__name__.partition(".")[2]
        if file in FILES:
            code = self.changes.get(file) or source(file)
            tree = ast.parse(code) if isinstance(code, str) else code
            exec(compile(ast.fix_missing_locations(_Redirect().visit(tree)), f"<variant {file}>", "exec"), module.__dict__)


class _Redirect(ast.NodeTransformer):
    """Imports of FILES go to the variant; all others to the real package."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        top, _, file = (node.module or "").partition(".")
        if top == _REAL and file in FILES:
            node.module = f"{_PRIVATE}.{file}"
        return node


@contextmanager
def _finding(finder: MetaPathFinder) -> Iterator[None]:
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
