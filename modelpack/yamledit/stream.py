"""A file as a stream of YAML documents, of which only those are composed that an edit can concern.

A line of `---` starts a document whatever stands before it (YAML 1.1, section 9.1), so the text is cut there, and each
part is a stream of its own: what is proven of one part after an edit of that part is proven of the whole file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import yaml

from modelpack.errors import InputError, RefusedError
from modelpack.fields import check
from modelpack.yamledit.tree import Splice, Tree, spliced

_START = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


@dataclass(frozen=True)
class Stream:
    """A YAML file. `name` is the file's, for messages; `mark` is its byte order mark, if it has one."""

    name: str
    text: str
    mark: bytes = b""

    @classmethod
    def parse(cls, data: bytes, name: str) -> Stream:
        """Raises InputError for what is no YAML in UTF-8, RefusedError for a template and for what SOPS has sealed."""
        # libyaml and the pure Python parser count the mark differently
        mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        try:
            text = data[len(mark) :].decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{name}:{line}", "is not UTF-8 text") from error
        stream = cls(name, text, mark)
        try:
            check(text, name)
            stream._check_unsealed()
        except InputError as error:
            if "{{" in text:
                raise RefusedError(
                    error.subject, "is a template, not YAML", "name the file that fills it in"
                ) from error
            raise
        return stream

    @cached_property
    def trees(self) -> tuple[Tree, ...]:
        """The parts of the file."""
        cuts, before = [0], 0
        for match in _START.finditer(self.text):
            # a directive belongs to the document after it
            if match.start() > before and not _DIRECTIVE.search(self.text, before, match.start()):
                cuts.append(match.start())
            before = match.start()
        found, line = [], 0
        for start, end in zip(cuts, [*cuts[1:], len(self.text)], strict=True):
            found.append(Tree(self.name, self.text[start:end], start, line))
            line += self.text.count("\n", start, end)
        return tuple(found)

    def about(self, word: str) -> Iterator[Tree]:
        """The parts that can hold a scalar or comment with a word in it: literally, or written with escapes."""
        return (tree for tree in self.trees if word in tree.text or "\\" in tree.text)

    def _check_unsealed(self) -> None:
        for tree in self.about("sops"):
            for document in tree.documents if "sops" in tree.text else ():
                if any(
                    isinstance(tree.peek(document, "sops", key), yaml.ScalarNode) for key in ("mac", "lastmodified")
                ):
                    raise RefusedError(
                        tree.where(document), "is encrypted with SOPS, an edit breaks its seal", "edit it with sops"
                    )

    def write(self, changes: Iterable[tuple[Tree, Splice]]) -> bytes:
        """The file with splices made in its trees, each proven; raises RefusedError if one is not what it should be."""
        wanted: dict[int, tuple[Tree, list[Splice]]] = {}
        for tree, splice in changes:
            wanted.setdefault(id(tree), (tree, []))[1].append(splice)
        while inner := [tree for tree, _ in wanted.values() if tree.outside]:
            tree, splices = wanted.pop(id(max(inner, key=lambda tree: tree.depth)))
            assert tree.outside
            tree.outside.node.value = tree.prove(splices)
            outer = wanted.setdefault(id(tree.outside.tree), (tree.outside.tree, []))[1]
            outer.extend(tree.outside.splice(each) for each in splices)
        parts = [
            Splice(tree.offset, tree.offset + len(tree.text), tree.prove(splices)) for tree, splices in wanted.values()
        ]
        return self.mark + spliced(self.text, parts).encode()

    def size(self, index: int) -> int:
        """How many bytes stand before a place in the text."""
        return len(self.mark) + len(self.text[:index].encode())
