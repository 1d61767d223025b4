"""Small wrong changes ("mutants") of Python source: what a test suite should notice.

`mutants_of(source, file)` names every place of a file that can be changed, with what may stand there instead. Text for
people is left alone (docstrings, messages, f-strings, logging), and so are annotations, decorators, imports and asserts.
"""

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
}
PAIRS = [
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("floor", "ceil"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
]
SWAPPED_NAMES = dict(PAIRS) | {second: first for first, second in PAIRS}
NUMERIC = {"Tensor", "float", "int", "ndarray", "Array", "Floats", "Series"}  # what a return can be negated of
TALK = {"print", "warn", "debug", "info", "warning", "error", "exception", "cast", "TypeVar", "NewType"}
SMALLEST = 1e-6  # smaller constants keep a division finite: twice as much is no fault


class Mutant(NamedTuple):
    """One change: `file[start:end]`, in bytes, becomes `mutated`.

    `lines` are those that run when the place runs, or None at the top of a file, which runs when it is imported.
    """

    file: str
    place: str  # the function or class it stands in
    line: int
    operator: str
    original: str
    mutated: str
    start: int
    end: int
    lines: tuple[int, int] | None
    occurrence: int  # among equal changes of one place

    @property
    def key(self) -> str:
        """Names the change without its line, so that it is known again when lines have moved."""
        parts = (self.file, self.place, self.operator, self.original, self.mutated, str(self.occurrence))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def applied(self, source: str) -> str:
        text = source.encode()
        return (text[: self.start] + self.mutated.encode() + text[self.end :]).decode()


class Scope(NamedTuple):
    """Where a node stands: which function or class, whether it runs with a function, its lines, what that returns."""

    place: str = ""
    in_function: bool = False
    lines: tuple[int, int] | None = None
    returns: str = ""


Change = tuple[str, ast.AST, str]  # the operator, the node that is replaced, the new text


def changes_of(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """The changes of one node, without its children's."""
    match node:
        case ast.Compare(ops=[operation]) if type(operation) in COMPARISONS:
            for other in COMPARISONS[type(operation)]:
                yield "comparison", node, unparsed(node, ops=[other()])
        case ast.BinOp(left=left, right=right) if not is_text(left) and not is_text(right):
            for swapped in ARITHMETIC.get(type(node.op), ()):
                yield "arithmetic", node, unparsed(node, op=swapped())
        case ast.AugAssign():
            for swapped in ARITHMETIC.get(type(node.op), ()):
                yield "arithmetic", node, unparsed(node, op=swapped())
        case ast.BoolOp():
            yield "boolean", node, unparsed(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "boolean" if isinstance(node.op, ast.Not) else "sign", node, ast.unparse(node.operand)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
                yield "boolean", test, ast.unparse(ast.UnaryOp(ast.Not(), test))
        case ast.Constant(value=bool()):
            yield "boolean", node, str(not node.value)
        case ast.Constant(value=int() | float()) if abs(node.value) >= SMALLEST or node.value == 0:
            for value in dict.fromkeys((node.value + 1, node.value - 1, node.value * 2)):
                if value != node.value:
                    yield "constant", node, repr(value)
        case ast.Name(id=name) if isinstance(node.ctx, ast.Load) and name in SWAPPED_NAMES:
            yield "min/max", node, SWAPPED_NAMES[name]
        case ast.Attribute(attr=name) if isinstance(node.ctx, ast.Load) and name in SWAPPED_NAMES:
            yield "min/max", node, unparsed(node, attr=SWAPPED_NAMES[name])
        case ast.Slice():
            yield from changes_of_slice(node)
        case ast.Return(value=ast.expr() as value):
            if scope.returns == "bool":
                yield "return", value, ast.unparse(ast.UnaryOp(ast.Not(), value))
            elif scope.returns in NUMERIC:
                yield "return", value, ast.unparse(ast.UnaryOp(ast.USub(), value))
        case ast.Call():
            yield from changes_of_call(node)


def changes_of_slice(node: ast.Slice) -> Iterator[Change]:
    for bound in ("lower", "upper", "step"):
        if getattr(node, bound) is not None:
            yield "slice", node, unparsed(node, **{bound: None})
    for bound, by in (("lower", "+ 1"), ("upper", "- 1")):
        value = getattr(node, bound)
        if value is not None:
            yield "slice", node, unparsed(node, **{bound: ast.parse(f"{ast.unparse(value)} {by}", mode="eval").body})


def changes_of_call(node: ast.Call) -> Iterator[Change]:
    """One keyword left out, or the last of several positional arguments; bounds given by keyword exchanged."""
    for index, keyword in enumerate(node.keywords):
        if keyword.arg and not is_text(keyword.value):
            yield "argument", node, unparsed(node, keywords=[*node.keywords[:index], *node.keywords[index + 1 :]])
    if len(node.args) > 1 and not isinstance(node.args[-1], ast.Starred) and not is_text(node.args[-1]):
        yield "argument", node, unparsed(node, args=node.args[:-1])
    if any(keyword.arg in ("min", "max") for keyword in node.keywords):
        names = [SWAPPED_NAMES[word.arg] if word.arg in ("min", "max") else word.arg for word in node.keywords]
        swapped = [ast.keyword(name, word.value) for name, word in zip(names, node.keywords, strict=True)]
        yield "min/max", node, unparsed(node, keywords=swapped)


def changes_of_default(node: ast.expr) -> Iterator[Change]:
    for operator, place, text in changes_of(node, Scope()):
        if operator in ("constant", "boolean"):
            yield "default", place, text


def unparsed(node: ast.AST, **changed: object) -> str:
    """The node's text with some of its parts replaced."""
    other = copy.copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return ast.unparse(other)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Raise() | ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal():
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in TALK
    return False


def walk(node: ast.AST, scope: Scope) -> Iterator[tuple[Change, Scope]]:
    """All changes below a node, each with where it stands."""
    if is_left_alone(node):
        return
    if isinstance(node, ast.stmt) and scope.in_function:
        scope = scope._replace(lines=lines_of(node))
    for change in changes_of(node, scope):
        yield change, scope
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            place, whole = f"{scope.place}.{node.name}".strip("."), (node.body[0].lineno, node.end_lineno or node.lineno)
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                if default is not None:
                    yield from ((change, Scope(place, True, whole)) for change in changes_of_default(default))
            parts, scope = node.body, Scope(place, True, None, returned_type(node))
        case ast.ClassDef():
            parts, scope = node.body, Scope(f"{scope.place}.{node.name}".strip("."))
        case ast.AnnAssign():
            parts = [node.value] if node.value else []
        case ast.Lambda():
            parts = [node.body]
            scope = scope._replace(lines=scope.lines or (node.body.lineno, node.body.end_lineno or node.body.lineno))
        case _:
            parts = list(ast.iter_child_nodes(node))
    for part in parts:
        yield from walk(part, scope)


def returned_type(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The last word of the annotation of what a function returns: "Tensor" of `torch.Tensor`."""
    return ast.unparse(node.returns).split(".")[-1] if node.returns else ""


def lines_of(node: ast.stmt) -> tuple[int, int]:
    """The lines of a statement; of one that has a body, those of its head."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return node.lineno, node.end_lineno or node.lineno
    return node.lineno, max(node.lineno, getattr(body[0], "lineno", node.lineno + 1) - 1)


def mutants_of(source: str, file: str) -> Iterator[Mutant]:
    """Every change of a file, in the order of its lines."""
    lengths = [len(line.encode()) for line in source.splitlines(keepends=True)]
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    seen: Counter[tuple[str, ...]] = Counter()
    for (operator, node, text), scope in walk(ast.parse(source), Scope()):
        assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno and node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        original = ast.unparse(node)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Slice):
            text = f"({text})"
        seen[scope.place, operator, original, text] += 1
        occurrence = seen[scope.place, operator, original, text]
        yield Mutant(file, scope.place, node.lineno, operator, original, text, start, end, scope.lines, occurrence)


def sample(mutants: Sequence[Mutant], seed: int, count: int) -> list[Mutant]:
    """`count` of them, at most one of each operator for one place in the source.

    The draw depends on each mutant alone, so that most of a sample stays when the source is changed elsewhere.
    """
    drawn = sorted(mutants, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.key}".encode()).digest())
    first = {(mutant.file, mutant.start, mutant.end, mutant.operator): mutant for mutant in reversed(drawn)}
    chosen = set(first.values())
    return [mutant for mutant in drawn if mutant in chosen][:count]
