"""The changes that the mutation engine makes: what may stand in the place of one expression or of one statement.

Expressions: constants, arithmetic, comparisons and their bounds, boolean operators and each of their operands, branches of a
conditional expression, a call replaced by its argument, keyword arguments left out, positional ones swapped, bounds of slices,
filters of comprehensions. Statements: calls, raise, break and continue left out, values and returns replaced by None,
conditions negated, loops not entered, contexts not entered, exceptions not caught, decorators left out.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
# A comparison becomes its negation, and an ordering also takes or leaves its bound.
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Lt: (ast.GtE, ast.LtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.Gt: (ast.LtE, ast.GtE),
    ast.GtE: (ast.Lt, ast.Gt),
}
_NEVER_RAISED = "NotImplementedError"


def expressions_instead(node: ast.expr) -> Iterator[ast.expr]:
    """What may stand in the place of this expression; its parts are changed on their own."""
    match node:
        case ast.BinOp(left, ast.BitOr(), right):  # a union of types, sets or dicts
            yield from (left, right)
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            yield ast.BinOp(left, _ARITHMETIC[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for left_out in range(len(values)):
                rest = [value for position, value in enumerate(values) if position != left_out]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Compare(left, ops, comparators):
            for position, op in enumerate(ops):
                for other in _COMPARISONS[type(op)]:
                    yield ast.Compare(left, [*ops[:position], other(), *ops[position + 1 :]], comparators)
        case ast.Constant(value):
            yield from (ast.Constant(other) for other in _other_constants(value))
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.Call():
            yield from _other_calls(node)
        case ast.Subscript(value, ast.Slice(lower, upper, step), ctx):
            if lower is not None:
                yield ast.Subscript(value, ast.Slice(None, upper, step), ctx)
            if upper is not None:
                yield ast.Subscript(value, ast.Slice(lower, None, step), ctx)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            for number, loop in enumerate(node.generators):
                for condition in range(len(loop.ifs)):
                    other_node = copy.copy(node)
                    other_loop = copy.copy(loop)
                    other_loop.ifs = [test for position, test in enumerate(loop.ifs) if position != condition]
                    other_node.generators = [*node.generators[:number], other_loop, *node.generators[number + 1 :]]
                    yield other_node


def _other_constants(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield 2 * value if value else 1.0
    elif isinstance(value, str):
        yield value + "X"


def _other_calls(call: ast.Call) -> Iterator[ast.expr]:
    plain = not any(isinstance(argument, ast.Starred) for argument in call.args)
    if plain and len(call.args) == 1 and not call.keywords:
        yield call.args[0]
    if not call.args and not call.keywords and isinstance(call.func, ast.Attribute):
        yield call.func.value
    if plain and len(call.args) > 1:
        yield ast.Call(call.func, [call.args[1], call.args[0], *call.args[2:]], call.keywords)
    for position in range(len(call.keywords)):
        yield ast.Call(call.func, call.args, [*call.keywords[:position], *call.keywords[position + 1 :]])


def statements_instead(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """What may stand in the place of this statement; its expressions and its body are changed on their own."""
    match node:
        case ast.Expr() | ast.Raise() | ast.Break() | ast.Continue() | ast.Delete():
            yield [ast.Pass()]
        case ast.AugAssign(target, op, value):
            yield [ast.Pass()]
            if type(op) in _ARITHMETIC:
                yield [ast.AugAssign(target, _ARITHMETIC[type(op)](), value)]
        case ast.Assign(targets, value) if not _is_none(value):
            yield [ast.Assign(targets, ast.Constant(None))]
        case ast.AnnAssign(target, annotation, value, simple) if value is not None and not _is_none(value):
            yield [ast.AnnAssign(target, annotation, ast.Constant(None), simple)]
        case ast.Return(value) if value is not None and not _is_none(value):
            yield [ast.Return(ast.Constant(None))]
        case ast.If(test, body, orelse) if not _changes_by_itself(test):
            yield [ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)]
        case ast.While(_, body, orelse):
            yield [ast.While(ast.Constant(False), body, orelse)]
        case ast.For(target, _, body, orelse):
            yield [ast.For(target, ast.Tuple([], ast.Load()), body, orelse)]
        case ast.With(_, body):
            yield body
        case ast.Try(body, handlers, orelse, finalbody):
            for number, handler in enumerate(handlers):
                for other in _other_handlers(handler):
                    yield [ast.Try(body, [*handlers[:number], other, *handlers[number + 1 :]], orelse, finalbody)]
        case ast.FunctionDef() | ast.ClassDef():
            for number in range(len(node.decorator_list)):
                other_node = copy.copy(node)
                other_node.decorator_list = [*node.decorator_list[:number], *node.decorator_list[number + 1 :]]
                yield [other_node]


def _other_handlers(handler: ast.ExceptHandler) -> Iterator[ast.ExceptHandler]:
    """One kind of exception is not caught any more."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    for left_out in range(len(kinds)):
        rest = [kind for position, kind in enumerate(kinds) if position != left_out and kind is not None]
        caught: ast.expr = ast.Tuple(rest, ast.Load()) if rest else ast.Name(_NEVER_RAISED, ast.Load())
        yield ast.ExceptHandler(caught, handler.name, handler.body)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _changes_by_itself(test: ast.expr) -> bool:
    """Whether a change of the condition's own expression is its negation already."""
    is_comparison = isinstance(test, ast.Compare) and len(test.ops) == 1
    return is_comparison or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))
