"""What a piece of Python takes from what ran before it, and what it leaves: found from its syntax tree.

Statements are followed in their order. A name counts as bound for certain only where every way through the code binds
it; what is read before that comes from outside, or perhaps does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

_Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Names:
    """`reads`: name -> the line that reads it where nothing before has bound it for certain. `binds`: bound at the top
    level. `imports`: of those, the ones that nothing but import statements binds, with the statement. `mutates`:
    changed in place, as far as that shows. `star`: a star import binds nobody knows what."""

    reads: dict[str, int] = field(default_factory=dict)
    binds: set[str] = field(default_factory=set)
    imports: dict[str, str] = field(default_factory=dict)
    mutates: set[str] = field(default_factory=set)
    star: bool = False


def names(tree: ast.Module) -> Names:
    """The names of a module's code. Raises RecursionError for what is nested too deep."""
    flow = _Flow()
    flow.block(tree.body)
    found = flow.names
    for node in ast.walk(tree):
        found.mutates.update(_mutated(node))
    elsewhere = {name for name, sources in flow.sources.items() if "" in sources}
    found.imports = {
        name: "\n".join(sorted(sources)) for name, sources in flow.sources.items() if name not in elsewhere
    }
    return found


class _Flow:
    def __init__(self) -> None:
        self.names = Names()
        self.sure: set[str] = set()
        self.sources: dict[str, set[str]] = {}  # name -> import statements that bind it; "" for anything else

    def read(self, name: str, line: int) -> None:
        if name not in self.sure:
            self.names.reads.setdefault(name, line)

    def bind(self, name: str, source: str = "") -> None:
        self.sure.add(name)
        self.names.binds.add(name)
        self.sources.setdefault(name, set()).add(source)

    # --- statements

    def block(self, statements: Iterable[ast.stmt]) -> bool:
        """Follow statements; says whether the way ends in them (raise, break, continue)."""
        for each in statements:
            self.statement(each)
            if isinstance(each, ast.Raise | ast.Break | ast.Continue | ast.Return):
                return True
        return False

    def ways(self, *ways: Iterable[ast.stmt]) -> None:
        """Follow each way from here; afterwards certain is what all that do not end have bound."""
        before = self.sure
        after: list[set[str]] = []
        for way in ways:
            self.sure = set(before)
            if not self.block(way):
                after.append(self.sure)
        self.sure = set.intersection(*after) if after else set(before)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            self.expression(node.value)
            for target in node.targets:
                self.target(target)
        elif isinstance(node, ast.AugAssign):
            self.expression(_loaded(node.target))
            self.expression(node.value)
            self.target(node.target)
        elif isinstance(node, ast.AnnAssign):
            self.expression(node.annotation)
            if node.value:
                self.expression(node.value)
                self.target(node.target)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.definition(node)
        elif isinstance(node, ast.ClassDef):
            self.each([*node.decorator_list, *node.bases, *(word.value for word in node.keywords)])
            self.nested(node.body)
            self.bind(node.name)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self.expression(node.iter)
            before = set(self.sure)
            self.target(node.target)
            self.block(node.body)
            self.sure = before
            self.ways(node.orelse)
        elif isinstance(node, ast.While):
            self.expression(node.test)
            self.ways(node.body, [])
            self.ways(node.orelse, [])
        elif isinstance(node, ast.If):
            self.expression(node.test)
            self.ways(node.body, node.orelse)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                self.expression(item.context_expr)
                if item.optional_vars:
                    self.target(item.optional_vars)
            self.block(node.body)
        elif isinstance(node, ast.Match):
            self.expression(node.subject)
            self.cases(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.imported(node)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                self.expression(_loaded(target))
                if isinstance(target, ast.Name):
                    self.sure.discard(target.id)
        elif hasattr(node, "handlers"):  # Try, and TryStar since 3.11
            self.attempt(node)
        else:
            self.each(ast.iter_child_nodes(node))

    def attempt(self, node: Any) -> None:
        before = set(self.sure)
        self.ways([*node.body, *node.orelse])
        after = [self.sure]
        for handler in node.handlers:
            self.sure = set(before)
            if handler.type:
                self.expression(handler.type)
            if handler.name:
                self.bind(handler.name)
            if not self.block(handler.body):
                after.append(self.sure - {handler.name or ""})
        self.sure = set.intersection(*after)
        self.block(node.finalbody)

    def cases(self, node: ast.Match) -> None:
        before = set(self.sure)
        for case in node.cases:
            self.sure = set(before)
            for part in ast.walk(case.pattern):
                if isinstance(part, ast.MatchValue):
                    self.expression(part.value)
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if isinstance(name, str):
                    self.bind(name)
            if case.guard:
                self.expression(case.guard)
            self.block(case.body)
        self.sure = before

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.names.star = True
                continue
            single = ast.Import([alias])
            if isinstance(node, ast.ImportFrom):
                if node.module == "__future__":
                    continue
                source = ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
            else:
                source = ast.unparse(single)
            self.bind(alias.asname or alias.name.partition(".")[0], source)

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.each(node.decorator_list)
        self.signature(node.args)
        if node.returns:
            self.expression(node.returns)
        self.bind(node.name)  # before its body is read: it may call itself
        self.body(node)

    def signature(self, arguments: ast.arguments) -> None:
        self.each([*arguments.defaults, *(each for each in arguments.kw_defaults if each)])
        self.each(each.annotation for each in _arguments(arguments) if each.annotation)

    def body(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        """A function's body is read where it is defined: it may be called at once."""
        body: list[ast.stmt] = node.body if isinstance(node.body, list) else [ast.Expr(node.body)]
        inner = _Flow()
        own = {each.arg for each in _arguments(node.args)}
        declared = {name for each in _own(body) if isinstance(each, ast.Global) for name in each.names}
        inner.sure = own | (_stored(body) - declared)
        inner.block(body)
        self.outer(inner, declared)

    def nested(self, body: list[ast.stmt]) -> None:
        inner = _Flow()
        inner.sure = set()
        inner.block(body)
        self.outer(inner, set())

    def outer(self, inner: _Flow, declared: set[str]) -> None:
        for name, line in inner.names.reads.items():
            self.read(name, line)
        for name in declared & inner.names.binds:  # perhaps: if it is called
            self.names.binds.add(name)
            self.sources.setdefault(name, set()).add("")

    # --- expressions

    def each(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            if isinstance(node, ast.stmt):
                self.statement(node)
            else:
                self.expression(node)

    def expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.read(node.id, node.lineno)
            else:
                self.bind(node.id)
        elif isinstance(node, ast.NamedExpr):
            self.expression(node.value)
            self.target(node.target)
        elif isinstance(node, ast.Lambda):
            self.signature(node.args)
            self.body(node)
        elif isinstance(node, _Comprehension):
            self.comprehension(node)
        else:
            self.each(ast.iter_child_nodes(node))

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        own = {part.id for each in node.generators for part in ast.walk(each.target) if isinstance(part, ast.Name)}
        self.expression(node.generators[0].iter)
        before = set(self.sure)
        self.sure |= own
        for number, each in enumerate(node.generators):
            self.each([*([each.iter] if number else []), *each.ifs])
        self.each([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.sure = before | (self.sure - own)

    def target(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            self.bind(node.id)
        elif isinstance(node, ast.Tuple | ast.List):
            for each in node.elts:
                self.target(each)
        elif isinstance(node, ast.Starred):
            self.target(node.value)
        else:
            self.each(ast.iter_child_nodes(node))


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    several = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return several + [each for each in (arguments.vararg, arguments.kwarg) if each]


def _loaded(node: ast.expr) -> ast.expr:
    """A target, as something that is read."""
    return ast.copy_location(ast.Name(node.id, ast.Load()), node) if isinstance(node, ast.Name) else node


def _own(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node of a function's body, without those of the scopes in it."""
    for node in body:
        yield node
        if not isinstance(node, (*_Function, *_Comprehension, ast.ClassDef)):
            yield from _own(ast.iter_child_nodes(node))


def _stored(body: list[ast.stmt]) -> set[str]:
    """The names that a function's body binds: its own, wherever it reads them."""
    found: set[str] = set()
    for node in _own(body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return found


def _mutated(node: ast.AST) -> Iterator[str]:
    """Names whose objects a statement changes in place: x[…] = …, x.y += …, del x[…], x.append(…)."""
    changed: list[ast.AST] = []
    if isinstance(node, ast.Assign | ast.Delete):
        changed = [each for each in node.targets if not isinstance(each, ast.Name)]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        changed = [node.target]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        changed = [node.value.func]  # its value is thrown away, so it is called for what it does
    for each in changed:
        inner: ast.AST = each
        while isinstance(inner, ast.Subscript | ast.Attribute | ast.Starred):
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield inner.id
