"""A tagged notebook as a pipeline: which cells make a block, in which order, and what one takes from another.

The tags are Kale's: `imports` and `functions` stand before every block, `pipeline-parameters` are its settings,
`block:NAME` (or `step:NAME`) with `prev:NAME` are the blocks, `skip` is left out; a cell without a tag belongs to what
stands before it. `pipeline-metrics` names the variables that are the pipeline's results.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any

from modelpack.errors import InputError
from modelpack.fields import nearest
from modelpack.notebook.document import PARAMETERS, Cell, at, literal, read
from modelpack.notebook.document import parse as tree
from modelpack.notebook.magics import without_magics
from modelpack.notebook.scope import Names, names

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_WHOLE = ("imports", "functions", "pipeline-parameters", "pipeline-metrics", "skip")
_KNOWN = (*_WHOLE, *PARAMETERS, "block", "step", "prev")
_ELSEWHERE = ("annotation", "label", "limit", "image", "cache")  # Kale's own, about its cluster
_FREE = frozenset(dir(builtins)) | {
    "__name__", "__file__", "__doc__", "__class__", "__builtins__", "__annotations__", "display",
}  # fmt: skip
_MOST = 100  # blocks


@dataclass(frozen=True)
class Parameter:
    """A setting, and its default: a text, a number, true or false."""

    name: str
    default: str | int | float | bool


@dataclass(frozen=True)
class Block:
    """A step. `after` are the blocks that have to be done: those of `prev`, and those of `loads`.

    `cells` are what it runs after the imports, parameters and functions. `loads`: variable -> the block that left it;
    `saves`: what it leaves for others; `imports`: import statements of blocks before it whose names it uses; `results`:
    the variables that are results of the pipeline.
    """

    name: str
    after: tuple[str, ...]
    cells: tuple[Cell, ...]
    loads: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    saves: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """Blocks in an order in which they can run. `name` is the notebook's, as a DNS label; `shared` are the names that
    imports and functions bind in every block."""

    name: str
    notebook: str
    imports: tuple[Cell, ...]
    parameters: tuple[Parameter, ...]
    functions: tuple[Cell, ...]
    blocks: tuple[Block, ...]
    shared: tuple[str, ...] = ()


def label(name: str) -> str:
    """A name as a DNS label."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")


def parse(data: bytes, name: str) -> Pipeline:
    """The pipeline of a notebook's bytes; `name` is what messages call it.

    Raises InputError with the cell's number: for a tag that is none, a block that is not there, a cycle, a name that
    nothing before defines, code that no Python runs.
    """
    found = read(data, name)
    parts = _Parts(name)
    for cell in found.cells:
        parts.add(cell)
    if not parts.blocks:
        raise InputError(name, "has no block", "tag its cells block:NAME, and prev:NAME where one follows another")
    try:
        return _joined(parts, name)
    except RecursionError as error:
        raise InputError(name, "is nested too deep to be read") from error


class _Parts:
    """A notebook's cells, each where its tags put it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.whole: dict[str, list[Cell]] = {tag: [] for tag in _WHOLE}
        self.blocks: dict[str, list[Cell]] = {}
        self.after: dict[str, dict[str, Cell]] = {}
        self._last: list[Cell] | None = None

    def add(self, cell: Cell) -> None:
        whole, blocks, before = self._tags(cell)
        cell = Cell(cell.number, cell.source, ())
        if whole == "skip":
            return
        cell = without_magics(cell, self.name)
        if not tree(cell, self.name).body:  # comments
            return
        if whole:
            self._last = self.whole[whole]
        elif blocks:
            self._last = self.blocks.setdefault(blocks, [])
            if len(self.blocks) > _MOST:
                raise at(self.name, cell, 1, f"there are more than {_MOST} blocks")
        elif self._last is None:
            remedy = "tag it block:NAME, imports, functions or skip"
            raise at(self.name, cell, 1, "has no tag, and nothing before it has one", remedy)
        if before and not blocks:
            raise at(self.name, cell, 1, "has a tag prev and none that names its block", "add block:NAME")
        if blocks:
            for each in before:
                self.after.setdefault(blocks, {}).setdefault(each, cell)
        self._last.append(cell)

    def _tags(self, cell: Cell) -> tuple[str, str, list[str]]:
        """The tag of the whole notebook, or the block, and the blocks before it."""
        whole: set[str] = set()
        blocks: set[str] = set()
        before: list[str] = []
        for tag in cell.tags:
            kind, colon, rest = tag.partition(":")
            if tag in _WHOLE or tag in PARAMETERS:
                whole.add("pipeline-parameters" if tag in PARAMETERS else tag)
            elif kind in ("block", "step", "prev") and colon:
                given = [each for each in rest.split(";") if each]
                for each in given:
                    if not _NAME.fullmatch(each) or not label(each):
                        remedy = "it has letters, digits, _ and -, and starts with a letter"
                        raise at(self.name, cell, 1, f"tag {tag!r}: {each!r} is not a block's name", remedy)
                if kind == "prev":
                    before += given
                else:
                    blocks.update(given)
            elif kind in _ELSEWHERE and colon:
                raise at(self.name, cell, 1, f"tag {tag!r}: set that in the compiled pipeline, not in the notebook")
            elif colon or nearest(tag.lower(), _KNOWN):
                near = nearest(kind.lower(), _KNOWN)
                remedy = f"did you mean {near!r}?" if near else f"known are {', '.join(_WHOLE)}, block:NAME, prev:NAME"
                raise at(self.name, cell, 1, f"tag {tag!r} is not known", remedy)
        if len(whole) + len(blocks) > 1:
            listed = ", ".join(sorted(whole | {f"block:{each}" for each in blocks}))
            raise at(self.name, cell, 1, f"has several of the tags of which a cell has one: {listed}")
        return next(iter(whole), ""), next(iter(blocks), ""), before


def _joined(parts: _Parts, name: str) -> Pipeline:
    labels: dict[str, str] = {}
    for block, cells in parts.blocks.items():
        if labels.setdefault(label(block), block) != block:
            raise at(name, cells[0], 1, f"block {block!r} and block {labels[label(block)]!r} are called alike")
    for before in parts.after.values():
        for each, cell in before.items():
            if each not in parts.blocks:
                near = nearest(each, parts.blocks)
                remedy = f"did you mean {near!r}?" if near else f"blocks are: {', '.join(parts.blocks)}"
                raise at(name, cell, 1, f"tag 'prev:{each}': there is no such block", remedy)
    order = _order(parts, name)
    parameters = _parameters(parts.whole["pipeline-parameters"], name)
    prelude = _analysed([*parts.whole["imports"], *parts.whole["functions"]], name)
    free = _FREE | prelude.binds | {each.name for each in parameters}
    known = {block: _analysed(cells, name) for block, cells in parts.blocks.items()}
    star = prelude.star
    if not star:
        _check([*parts.whole["imports"], *parts.whole["functions"]], prelude.reads, free, name)
    owned = _data(parts.whole["functions"], name) | {each.name for each in parameters}
    ancestors: dict[str, set[str]] = {}
    for block in order:
        direct = set(parts.after.get(block, {}))
        ancestors[block] = direct.union(*(ancestors[each] for each in direct))
    results = _results(parts.whole["pipeline-metrics"], name)
    by_result = {each: _last(each, order, known, results[each], name) for each in results}
    position = {block: number for number, block in enumerate(parts.blocks)}
    loads: dict[str, dict[str, str]] = {block: {} for block in order}
    imports: dict[str, set[str]] = {block: set() for block in order}
    saves: dict[str, set[str]] = {block: set() for block in order}
    for block in order:
        for each in sorted(known[block].reads):
            givers = [one for one in order if one in ancestors[block] and _gives(known[one], each, owned)]
            # what only uses a variable may have changed it too
            users = [one for one in order if one in ancestors[block] and (one in givers or each in loads[one])]
            nearest_ones = [one for one in users if not any(one in ancestors[other] for other in users)]
            if not nearest_ones:
                continue
            changing = [one for one in nearest_ones if _changes(known[one], each)]
            giver = max(changing or nearest_ones, key=position.__getitem__)  # as if it ran from top to bottom
            sources = {known[one].imports.get(each) for one in givers}
            statement = known[max(givers, key=position.__getitem__)].imports.get(each) if givers else None
            if None not in sources and statement is not None:
                imports[block].update(statement.split("\n"))
            else:
                loads[block][each] = giver
                saves[giver].add(each)
        _check_others(parts, name, block, set(loads[block]) | owned & set(known[block].reads), known, ancestors)
        reachable = {one for each in ancestors[block] for one in known[each].binds}
        if not star and not known[block].star and not any(known[each].star for each in ancestors[block]):
            reads = {each: line for each, line in known[block].reads.items() if each not in known[block].binds}
            _check(parts.blocks[block], reads, free | reachable, name, block)
    blocks = tuple(
        Block(
            block,
            tuple(each for each in order if each in parts.after.get(block, {}) or each in loads[block].values()),
            tuple(parts.blocks[block]),
            MappingProxyType(dict(sorted(loads[block].items()))),
            tuple(sorted(saves[block])),
            tuple(sorted(imports[block])),
            tuple(each for each in results if by_result[each] == block),
        )
        for block in order
    )
    stem = label(re.sub(r"\.ipynb$", "", name.rsplit("/", 1)[-1])) or "notebook"
    shared = tuple(sorted(prelude.binds))
    whole = tuple(tuple(parts.whole[each]) for each in ("imports", "functions"))
    return Pipeline(stem, name, whole[0], parameters, whole[1], blocks, shared)


def _order(parts: _Parts, name: str) -> list[str]:
    """Blocks after those before them, else as in the notebook."""
    graph = {block: set(parts.after.get(block, {})) for block in parts.blocks}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        ring = list(error.args[1])[::-1]
        cell = parts.after[ring[0]][ring[1]] if ring[1] in parts.after.get(ring[0], {}) else parts.blocks[ring[0]][0]
        raise at(name, cell, 1, f"the blocks wait for one another: {' after '.join(ring)}") from error
    order: list[str] = []
    while len(order) < len(graph):
        order.append(next(each for each in graph if each not in order and graph[each] <= set(order)))
    return order


def _analysed(cells: Iterable[Cell], name: str) -> Names:
    body = [statement for cell in cells for statement in tree(cell, name).body]
    return names(ast.Module(body, []))


def _gives(known: Names, name: str, owned: set[str]) -> bool:
    return name in known.binds or (name in known.mutates and name in owned)


def _changes(known: Names, name: str) -> bool:
    return name in known.binds or name in known.mutates


def _check_others(
    parts: _Parts, name: str, block: str, taken: set[str], known: Mapping[str, Names], ancestors: Mapping[str, set[str]]
) -> None:
    """Raise InputError where the notebook, run from top to bottom, would give a block another value than it is passed:
    one that a block changes which is not before it by its tags."""
    for other in parts.blocks:
        if other == block:
            return
        if other in ancestors[block]:
            continue
        for each in sorted(taken):
            if _changes(known[other], each):
                cell = parts.blocks[block][0]
                problem = f"block {block!r} takes {each}, which block {other!r} changes and which is not before it"
                raise at(name, cell, 1, problem, f"add the tag prev:{other}, or use another name there")


def _data(cells: Iterable[Cell], name: str) -> set[str]:
    """The variables that functions cells assign: every block starts with its own, unless one before changed it."""
    found: set[str] = set()
    for cell in cells:
        for node in tree(cell, name).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(each.id for each in targets if isinstance(each, ast.Name))
    return found


def _parameters(cells: Iterable[Cell], name: str) -> tuple[Parameter, ...]:
    found: dict[str, Parameter] = {}
    for cell in cells:
        for node in tree(cell, name).body:
            target: ast.expr | None = None
            value: Any = None
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target, value = node.targets[0], literal(node.value)
            elif isinstance(node, ast.AnnAssign) and node.value:
                target, value = node.target, literal(node.value)
            if not isinstance(target, ast.Name) or not isinstance(value, str | int | float | bool):
                remedy = "put one `name = text, number, True or False` a line there, and the rest into functions"
                raise at(name, cell, node.lineno, "is no parameter", remedy)
            if isinstance(value, float) and value - value != 0:
                raise at(name, cell, node.lineno, f"{value} is no number that YAML and JSON have")
            found[target.id] = Parameter(target.id, value)
    return tuple(found.values())


def _results(cells: Iterable[Cell], name: str) -> dict[str, tuple[Cell, int]]:
    """The variables that pipeline-metrics cells name, bare or printed."""
    found: dict[str, tuple[Cell, int]] = {}
    for cell in cells:
        for node in tree(cell, name).body:
            value = node.value if isinstance(node, ast.Expr) else None
            printed = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"
            several = value.args if isinstance(value, ast.Call) and printed else [value]
            for each in several:
                if not isinstance(each, ast.Name):
                    raise at(name, cell, node.lineno, "is no metric", "name a variable a line, or print(variable)")
                found[each.id] = (cell, node.lineno)
    return found


def _last(result: str, order: list[str], known: Mapping[str, Names], where: tuple[Cell, int], name: str) -> str:
    owners = [block for block in order if result in known[block].binds]
    if not owners:
        raise at(name, *where, f"{result} is assigned in no block")
    return owners[-1]


def _check(cells: Iterable[Cell], reads: Mapping[str, int], known: Iterable[str], name: str, block: str = "") -> None:
    """Raise InputError, with cell and line, for a name that nothing defines."""
    missing = set(reads) - set(known)
    for cell in cells:
        found = names(tree(cell, name)).reads
        for each in sorted(missing & set(found), key=found.__getitem__):
            where = f", and no block before {block!r} does" if block else ""
            near = nearest(each, known)
            remedy = f"did you mean {near!r}?" if near else "assign it there, or add the block's prev:NAME"
            raise at(name, cell, found[each], f"nothing defines {each}{where}", remedy)
