"""All mutants of mgnet-models: every change of `operators` at every place of every module but the catalogue.

Not changed are annotations, imports, docstrings, the texts of exceptions and of the command's help, assertions (they speak to
the type checker), the types that `cast` names, and `__all__`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

from verify.mutation.operators import expressions_instead, statements_instead

PACKAGE = "mgnet_models"
# The root is found without importing the package: the engine loads changed sources under its name.
ROOT = Path(str(find_spec(PACKAGE).origin)).parent  # type: ignore[union-attr]
LEFT_OUT = ("catalogue",)
# What a mutant is named by is at least this long: `1 -> 2` would tell nothing.
_TELLING = 18
# A change longer than this is told by what is around the difference.
_LONG, _AROUND = 90, 30
_TEXTS = ("help", "description")
_Slot = tuple[ast.AST, str, int | None]  # the field of a parent, and the place in it if it is a list


def modules() -> tuple[str, ...]:
    """The modules in scope, as `mgnet.grid`; a package is named by its folder, and the top one by ``."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in LEFT_OUT:
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return tuple(found)


def path_of(module: str) -> Path:
    """The file of a module."""
    folder = ROOT.joinpath(*module.split(".")) if module else ROOT
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change. `name` says where and what, and stays the same when other lines of the file change."""

    module: str
    name: str
    lines: range
    # The outermost function that holds the change, None for what runs at import alone.
    function: str | None
    # The argument of this function whose default is changed, and its other default.
    argument: str | None = None
    default: object = None
    # The changed module, only until the next mutant is asked for: a copy for each would take long.
    tree: ast.Module = field(repr=False, compare=False)


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of the source."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    seen: dict[str, int] = {}
    for change in _in_body(tree, "body", _Place((), None, tree)):
        seen[change.name] = seen.get(change.name, 0) + 1
        if seen[change.name] > 1:
            change = Mutant(**(change.__dict__ | {"name": f"{change.name} ({seen[change.name]})"}))
        yield Mutant(**(change.__dict__ | {"module": module}))


@dataclass(frozen=True)
class _Place:
    """Where the walk is: names of the definitions around, the outermost function, the whole tree."""

    names: tuple[str, ...]
    function: str | None
    tree: ast.Module

    def inside(self, definition: ast.FunctionDef | ast.ClassDef) -> _Place:
        names = (*self.names, definition.name)
        is_function = isinstance(definition, ast.FunctionDef)
        return _Place(names, self.function or (".".join(names) if is_function else None), self.tree)

    def mutant(self, change: str, lines: range, **default: Any) -> Mutant:
        where = ".".join(self.names)
        name = f"{where}: {change}" if where else change
        return Mutant(module="", name=name, lines=lines, function=self.function, tree=self.tree, **default)


def _in_body(owner: ast.AST, field_name: str, place: _Place) -> Iterator[Mutant]:
    body: list[ast.stmt] = getattr(owner, field_name)
    for number, statement in enumerate(list(body)):
        if _is_silent(statement):
            continue
        for others in statements_instead(statement):
            body[number : number + 1] = others
            ast.fix_missing_locations(ast.copy_location(others[0], statement))
            yield place.mutant(_change(_head(statement), _heads(others, statement)), _lines_of_head(statement))
            body[number : number + len(others)] = [statement]
        if not isinstance(statement, ast.Raise):
            yield from _in_statement(statement, place)


def _is_silent(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Pass() | ast.Global() | ast.Nonlocal():
            return True
        case ast.Expr(ast.Constant()):  # a docstring
            return True
        case ast.If(ast.Name("TYPE_CHECKING")):
            return True
        case ast.Assign([ast.Name("__all__")]):
            return True
        case ast.Assign(_, ast.Subscript(ast.Name("Callable" | "dict" | "tuple"))):  # the name of a type
            return True
    return False


def _in_statement(statement: ast.stmt, place: _Place) -> Iterator[Mutant]:
    """The expressions of a statement, then the statements in it."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        # A decorator or a default belongs to what is around the function, and runs when that does.
        yield from _in_expressions(statement, "decorator_list", statement, place)
        inner = place.inside(statement)
        if isinstance(statement, ast.FunctionDef):
            yield from _in_defaults(statement, inner)
        yield from _in_body(statement, "body", inner)
        return
    for name in statement._fields:
        value = getattr(statement, name, None)
        if name in ("annotation", "targets", "target", "type_comment"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield from _in_body(statement, name, place)
        elif isinstance(value, list) and value and isinstance(value[0], ast.ExceptHandler):
            for handler in value:
                yield from _in_body(handler, "body", place)
        else:
            yield from _in_expressions(statement, name, statement, place)


def _in_defaults(function: ast.FunctionDef, place: _Place) -> Iterator[Mutant]:
    arguments = function.args
    with_default = [*arguments.posonlyargs, *arguments.args][
        len(arguments.posonlyargs + arguments.args) - len(arguments.defaults) :
    ]
    lines = range(function.body[0].lineno, (function.body[-1].end_lineno or 0) + 1)
    for values, names in ((arguments.defaults, with_default), (arguments.kw_defaults, arguments.kwonlyargs)):
        for number, (value, argument) in enumerate(zip(list(values), names, strict=True)):
            if value is None:
                continue
            for other in expressions_instead(value):
                values[number] = ast.copy_location(other, value)  # type: ignore[call-overload]
                change = f"{argument.arg}={ast.unparse(value)} -> {ast.unparse(other)}"
                of_itself = place.function == ".".join(place.names) and isinstance(other, ast.Constant)
                default = {"argument": argument.arg, "default": other.value} if of_itself else {}  # type: ignore[attr-defined]
                yield place.mutant(change, lines, **default)
                values[number] = value  # type: ignore[call-overload]


def _in_expressions(owner: ast.AST, field_name: str, statement: ast.stmt, place: _Place) -> Iterator[Mutant]:
    """Every expression below one field, changed in place and changed back."""
    for slot, around in _slots(owner, field_name, (statement,)):
        node = _get(slot)
        for other in expressions_instead(node):
            before = _telling([*around, node])
            text = ast.unparse(before) if isinstance(before, ast.expr) else _head(before)
            _set(slot, ast.copy_location(other, node))
            after = other if before is node else before
            changed = ast.unparse(after) if isinstance(after, ast.expr) else _head(after)
            if changed != text:
                ast.fix_missing_locations(place.tree)
                yield place.mutant(_change(text, changed), _lines_of(node, statement))
            _set(slot, node)


def _slots(owner: ast.AST, field_name: str, around: tuple[ast.AST, ...]) -> Iterator[tuple[_Slot, tuple[ast.AST, ...]]]:
    value = getattr(owner, field_name, None)
    entries: list[tuple[int | None, object]] = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    for position, child in entries:
        if not isinstance(child, ast.AST) or _is_text(owner, child, position):
            continue
        if isinstance(child, ast.expr):
            yield (owner, field_name, position), around
        inner = (*around, child) if isinstance(child, ast.expr) else around
        for name in child._fields:
            if name not in ("annotation", "ctx", "op", "ops"):
                yield from _slots(child, name, inner)


def _is_text(owner: ast.AST, child: ast.AST, position: int | None) -> bool:
    """Help of the command line, the type of a cast, the name of a type in quotes."""
    if isinstance(owner, ast.keyword) and owner.arg in _TEXTS:
        return True
    return isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "cast" and position == 0


def _get(slot: _Slot) -> ast.expr:
    owner, name, position = slot
    value = getattr(owner, name)
    return value if position is None else value[position]  # type: ignore[no-any-return]


def _set(slot: _Slot, node: ast.expr) -> None:
    owner, name, position = slot
    if position is None:
        setattr(owner, name, node)
    else:
        getattr(owner, name)[position] = node


def _telling(nodes: list[ast.AST]) -> ast.AST:
    """The innermost of the nodes, outer first, whose text is long enough to say what is changed."""
    return next((node for node in reversed(nodes[1:]) if len(ast.unparse(node)) >= _TELLING), nodes[0])


def _change(before: str, after: str) -> str:
    """`before -> after` in one line; of long texts what is around the difference."""
    before, after = (" ".join(text.split()) for text in (before, after))
    if max(len(before), len(after)) > _LONG:
        start = max(_same(before, after) - _AROUND, 0)
        end = max(_same(before[start:][::-1], after[start:][::-1]) - _AROUND, 0)
        before, after = (_cut(text[start : len(text) - end], bool(start), bool(end)) for text in (before, after))
    return f"{before} -> {after}"


def _same(before: str, after: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after)))


def _cut(text: str, starts_before: bool, ends_later: bool) -> str:
    inside = text if len(text) <= _LONG else f"{text[:_LONG]}..."
    return f"{'...' if starts_before else ''}{inside}{'...' if ends_later and not inside.endswith('...') else ''}"


def _head(statement: ast.AST) -> str:
    text = ast.unparse(statement).splitlines()
    return (
        text[0] if isinstance(statement, ast.If | ast.For | ast.While | ast.With) else " ".join(line.strip() for line in text[:2])
    )


def _heads(others: list[ast.stmt], statement: ast.stmt) -> str:
    if isinstance(statement, ast.With):
        return "its body alone"
    if isinstance(statement, ast.Try):
        other = others[0]
        assert isinstance(other, ast.Try)
        return "; ".join(f"except {ast.unparse(handler.type) if handler.type else ''}" for handler in other.handlers)
    return _head(others[0])


def _lines_of(node: ast.AST, statement: ast.stmt) -> range:
    head = _lines_of_head(statement)
    start, end = getattr(node, "lineno", head.start), getattr(node, "end_lineno", None)
    return range(start, (end or start) + 1) if start in head else head


def _lines_of_head(statement: ast.stmt) -> range:
    """Of a compound statement the lines before its body; of a `with` or `try`, whose change shows in the body, all lines."""
    body = getattr(statement, "body", None)
    whole = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    if not body or isinstance(statement, ast.With | ast.Try):
        return whole
    return range(statement.lineno, max(body[0].lineno, statement.lineno + 1))
