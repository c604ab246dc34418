"""Mutation testing in process: every small change to the code that builds and runs a MgNet, and what the checks say.

A mutant is one change to one expression or statement of the functions in `TARGETS`: the mathematics of MgNet, the duality,
and the runtime (recompute, folding, convolution). The rest of timm's interface (`prune_intermediate_layers`, ...) is tested in
tests/models. Left out by `OUT_OF_SCOPE` are error messages and what passes devices and dtypes on.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from verify.mutation.variants import Variant, load, source

# File -> the classes and functions in it whose bodies are mutated.
TARGETS: dict[str, tuple[str, ...]] = {
    "nn.layers": ("conv", "sigma_before", "sigma_after"),
    "mgnet.transfer": ("Transfer",),
    "mgnet.grid": ("SmoothingGrid", "Grid", "chain_of_grids"),
    "mgnet.stem": ("DataMap", "Stem"),
    "nn.classifier": (
        "Network.__init__",
        "Network.forward_head",
        "Network.forward",
        "Network.init_weights",
        "Grids",
        "GridNetwork.__init__",
        "GridNetwork.forward_features",
        "GridNetwork._feature",
        "GridNetwork._end_at_last_grid",
    ),
    "mgnet.model": ("MgNet",),
    "mgnet.duality": (
        "ResidualStem",
        "Restriction",
        "NegatedConv2d",
        "PreActGrid",
        "ModifiedPreActResNet",
        "to_preact_resnet",
        "to_mgnet",
        "_mgnet_state",
        "_negated",
    ),
    "runtime.recompute": (),
    "runtime.convolution": ("Conv3x3", "use_winograd", "winograd_backend", "_converted", "_serves"),
    "runtime.folding": ("optimize_for_inference", "ScaleShift", "_fold", "_affine", "_activation"),
}
# A branch, an assignment or an expression that mentions one of these is not mutated.
OUT_OF_SCOPE = ("raise ", "dtype", "global_pool")

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Gt: ast.LtE,
    ast.In: ast.NotIn,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One changed file. `change` is the statement before and after, which names the mutant across edits elsewhere."""

    file: str
    change: str
    number: int

    def variant(self) -> Variant:
        """The package with this change. Raises whatever the changed module raises when loaded."""
        _, tree = next(islice(_mutated(self.file), self.number, None))
        return load({self.file: tree})


def mutants() -> Iterator[Mutant]:
    """Every mutant of every target, in the order of the source."""
    for file in TARGETS:
        for number, (change, _) in enumerate(_mutated(file)):
            yield Mutant(file=file, change=change, number=number)


def _mutated(file: str) -> Iterator[tuple[str, ast.Module]]:
    """Each change of a file, with the tree that holds it until the next one is asked for: a copy for each would take long."""
    tree = ast.parse(source(file))
    for statement in _statements(tree, TARGETS[file] or _definitions(tree)):
        for change in _mutants_of(statement):
            yield change, tree


def _definitions(tree: ast.Module) -> tuple[str, ...]:
    return tuple(node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))


def _statements(tree: ast.Module, names: tuple[str, ...]) -> Iterator[ast.stmt]:
    """The simple statements and the heads of compound ones in the named definitions; docstrings and signatures left out."""
    for name in names:
        for definition in ast.walk(_definition(tree, name)):
            if isinstance(definition, ast.FunctionDef):
                yield from _in_scope(definition.body)


def _in_scope(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and _only_rejects(statement):
            yield from _in_scope(statement.orelse)
        elif isinstance(statement, ast.If | ast.For | ast.With):
            yield statement
            yield from _in_scope([*statement.body, *getattr(statement, "orelse", [])])
        elif not isinstance(statement, ast.AnnAssign | ast.Raise | ast.Import | ast.ImportFrom) and not _is_docstring(statement):
            yield statement


def _only_rejects(statement: ast.If) -> bool:
    """Whether the branch does nothing but reject an argument."""
    return isinstance(statement.body[-1], ast.Raise) and all(isinstance(s, ast.Assign | ast.Raise) for s in statement.body)


def _out_of_scope(node: ast.AST) -> bool:
    return any(word in ast.unparse(node) for word in OUT_OF_SCOPE)


def _definition(tree: ast.Module, name: str) -> ast.AST:
    found: ast.AST = tree
    for part in name.split("."):
        body = getattr(found, "body", [])
        found = next(node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part)
    return found


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _mutants_of(statement: ast.stmt) -> Iterator[str]:
    """Make each change in place, say what it is, and undo it."""
    for node in [statement, *_expressions(statement)]:
        if node is not statement and _out_of_scope(node):
            continue
        for change in _changes(node):
            before = _head(statement)
            undo = change()
            after = _head(statement)
            if after != before:  # as in `x = None`
                yield f"{before}  ->  {after}"
            undo()


def _expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Expressions in the statement itself, not in the statements of its body."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt):
            yield from (node for node in ast.walk(child) if not isinstance(node, ast.stmt))


def _head(statement: ast.stmt) -> str:
    return ast.unparse(statement).splitlines()[0]


Change = Callable[[], Callable[[], None]]


def _changes(node: ast.AST) -> Iterator[Change]:
    """Changes that can be made to this node in place; each returns how to undo it."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in _SWAPPED:
        yield _setting(node, "op", _SWAPPED[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
        yield _setting(node, "ops", [_SWAPPED[type(node.ops[0])]()])
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _setting(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield _setting(node, "value", node.value + 1)
    if isinstance(node, ast.IfExp):
        yield _setting(node, "test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _setting(node, "op", ast.UAdd())
    if isinstance(node, ast.Expr | ast.Assign) or (isinstance(node, ast.Return) and node.value is not None):
        yield from _changes_of_statement(node)
    yield from _replaced_calls(node)


def _changes_of_statement(node: ast.Expr | ast.Assign | ast.Return) -> Iterator[Change]:
    """Drop the effect of a call, or give None where a value is stored or returned."""
    if not (isinstance(node, ast.Expr) and "super().__init__" in ast.unparse(node)):
        yield _setting(node, "value", ast.Constant(None))


def _replaced_calls(node: ast.AST) -> Iterator[Change]:
    """Where a call of one tensor stands, f(x) becomes x."""
    for field, value in ast.iter_fields(node):
        entries = value if isinstance(value, list) else [value]
        for position, child in enumerate(entries):
            if not (isinstance(child, ast.Call) and len(child.args) == 1 and not child.keywords) or isinstance(
                child.args[0], ast.Starred
            ):
                continue
            if isinstance(value, list):
                yield _setting(node, field, [*value[:position], child.args[0], *value[position + 1 :]])
            else:
                yield _setting(node, field, child.args[0])


def _setting(node: ast.AST, field: str, value: object) -> Change:
    def change() -> Callable[[], None]:
        before = getattr(node, field)
        setattr(node, field, value)
        return lambda: setattr(node, field, before)

    return change
