"""The model package with a change in its source, loaded beside the real one: for planted defects and for mutation testing."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.resources import files
from types import ModuleType

from torch import nn

# The files that make a MgNet. What else they import (notation, data sets, printed rows) the variant shares with the package.
_MODULES = {
    "layers": "nn.layers",
    "smoothing": "mgnet.smoothing",
    "transfer": "mgnet.transfer",
    "grid": "mgnet.grid",
    "stem": "mgnet.stem",
    "classifier": "nn.classifier",
    "model": "mgnet.model",
}
FILES = tuple(_MODULES)
_PRIVATE = "mgnet_models_variant"
_REDIRECTED = {f"mgnet_models.{module}": f"{_PRIVATE}.{file}" for file, module in _MODULES.items()} | {
    "mgnet_models.catalogue.registry": f"{_PRIVATE}.registry"
}


def source(file: str) -> str:
    """The text of one of FILES."""
    path = _MODULES[file].replace(".", "/") + ".py"
    return files("mgnet_models").joinpath(path).read_text(encoding="utf-8")


def load(changes: Mapping[str, str | ast.Module]) -> Callable[..., nn.Module]:
    """The MgNet class of a variant in which the files named in `changes` have those texts or syntax trees.

    The variant lives under a private name and registers nothing with timm; its modules replace those of the variant
    before, and the real package is untouched.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == _PRIVATE]:
        del sys.modules[name]
    with _result(_VariantFinder(changes)):
        network: Callable[..., nn.Module] = importlib.import_module(f"{_PRIVATE}.model").MgNet
    return network


def edited(file: str, old: str, new: str) -> Callable[..., nn.Module]:
    """The variant in which `old`, which must occur in the file, is replaced by `new` everywhere in it."""
    text = source(file)
    if old not in text:
        raise ValueError(f"{old!r} does not occur in {file}.py: the planted defect must follow the code")
    return load({file: text.replace(old, new)})


class _VariantFinder(MetaPathFinder, Loader):
    """Finds and executes the modules of the private package."""

    def __init__(self, changes: Mapping[str, str | ast.Module]) -> None:
        self.changes = changes

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for names under the private package alone."""
        return ModuleSpec(name, self, is_package=name == _PRIVATE) if name.partition(".")[0] == _PRIVATE else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the file, changed or not, with its imports of varied files redirected; the registry does nothing."""
        file = module.__name__.rpartition(".")[2]
        if file == "registry":
            module.__dict__["register_names"] = lambda *_: None
        elif file != _PRIVATE:
            code = self.changes.get(file) or source(file)
            tree = ast.parse(code) if isinstance(code, str) else code
            exec(compile(ast.fix_missing_locations(_Redirect().visit(tree)), f"<variant {file}.py>", "exec"), module.__dict__)


class _Redirect(ast.NodeTransformer):
    """Imports of the varied files, and of the registry, go to the variant; all others to the real package."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        node.module = _REDIRECTED.get(node.module or "", node.module)
        return node


@contextmanager
def _result(finder: MetaPathFinder) -> Iterator[None]:
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
