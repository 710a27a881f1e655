"""Comments that say what a value is: Flux's image policy markers, and kpt's setters.

Flux reads a comment as a marker if all of it is a JSON object of texts with `$imagepolicy`, on the value's line or on
the line above an item of a list. It sets the whole image; with `:name`, `:tag` or `:digest` behind the policy, that.
kpt takes `# kpt-set: ` and a pattern of `${setter}`s, once a JSON object of `$kpt-set`, `$openapi` or `$ref`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from modelpack.errors import NotFoundError, RefusedError
from modelpack.target import DIGEST, IMAGE, REPOSITORY, TAG, Target
from modelpack.yamledit.slot import Place, Slot, Slots, check_image, slot
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import Splice, Tree, scalar

_WORDS = re.compile(r"#+[ \t]*(paused )?(.*)")
_HEADER = re.compile(r"[|>][0-9+-]*")
_DEEPEST = 100
_POLICY = "$imagepolicy"
_FORMS = {"": IMAGE, "name": REPOSITORY, "tag": TAG, "digest": DIGEST}
_OLD_SETTER = "#/definitions/io.k8s.cli.setters."
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_TEXTS = {
    IMAGE: r"\S+",
    REPOSITORY: r"(?:[\w.-]+(?::\d+)?/)?[\w./-]+?",
    TAG: r"\w[\w.-]*(?:@sha256:[0-9a-f]{64})?",
    DIGEST: r"sha256:[0-9a-f]{64}",
}


@dataclass(frozen=True)
class Comment:
    """A comment that may be a marker: `words` from `at`, behind `paused ` or not, beside the scalar `node`."""

    tree: Tree
    node: yaml.ScalarNode
    at: int
    words: str
    paused: bool

    @property
    def keys(self) -> dict[str, str]:
        """What the comment says as a JSON object of texts; empty for any other comment."""
        try:
            found = json.loads(self.words)
        except (ValueError, RecursionError):
            return {}
        texts = isinstance(found, dict) and all(isinstance(each, str) for each in found.values())
        return found if texts else {}


def comments(tree: Tree, word: str) -> Iterator[Comment]:
    """The comments with a word in them that stand beside a scalar."""
    text = tree.text
    at = text.find(word)
    if at < 0:
        return
    ends, starts, holders = _scalars(tree)
    while at >= 0:
        start, stop = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        stop = len(text) if stop < 0 else stop
        sign = text.find("#", start, stop)
        while sign >= 0:
            node = _beside(text, sign, ends, starts)
            match = _WORDS.match(text[sign:stop].rstrip()) if node else None
            if node and match and word in match[2]:
                _check_single(tree, node, holders)
                yield Comment(tree, node, sign + match.start(2), match[2], bool(match[1]))
                break
            sign = text.find("#", sign + 1, stop)
        at = text.find(word, stop)


def _beside(text: str, sign: int, ends: _Ends, starts: _Ends) -> yaml.ScalarNode | None:
    """The scalar that a comment belongs to: it ends before it, a comma between or not, or begins on the next line."""
    at = _back(text, sign)
    if at == sign and text[sign - 1 : sign] not in ("\n", ",", ""):
        return None
    if at in ends:
        return ends[at]
    if text[at - 1 : at] == ",":
        return ends.get(_back(text, at - 1))
    return starts.get(text.find("\n", sign) + 1) if text[at - 1 : at] in ("\n", "") else None


def _back(text: str, at: int) -> int:
    while text[at - 1 : at] in (" ", "\t"):
        at -= 1
    return at


_Ends = dict[int, yaml.ScalarNode]
_Holders = dict[int, tuple[yaml.Node, yaml.Node | None]]


def _scalars(tree: Tree) -> tuple[_Ends, _Ends, _Holders]:
    """The values that are scalars, by where they end on their line, and items of lists by where their line starts.

    And of each node what holds it, and by which key.
    """
    ends: _Ends = {}
    starts: _Ends = {}
    holders: _Holders = {}
    seen: set[int] = set()
    stack: list[yaml.Node] = list(tree.documents)
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            end = node.end_mark.index
            if node.style in ("|", ">"):
                header = _HEADER.match(tree.text, tree.content(node))
                end = header.end() if header else end
            ends[end] = node
            if isinstance(holders.get(id(node), (None,))[0], yaml.SequenceNode):
                starts[node.start_mark.index - node.start_mark.column] = node
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(None, each) for each in node.value]
        for key, value in pairs:
            holders.setdefault(id(value), (node, key))
            stack.append(value)
    return ends, starts, holders


def _check_single(tree: Tree, node: yaml.Node, holders: _Holders) -> None:
    """Raise RefusedError if a key on the way to a node is given twice."""
    climbed = 0
    while id(node) in holders and climbed < _DEEPEST:
        node, key = holders[id(node)]
        if key is not None and isinstance(node, yaml.MappingNode):
            tree.child(node, key.value)
        climbed += 1


# --- Flux


def marked(stream: Stream, target: Target) -> Slots:
    """All values that markers of the policy stand beside. Raises NotFoundError if there are none."""
    slots, others = [], set()
    for tree in stream.trees:
        for comment in comments(tree, _POLICY) if _POLICY in tree.text else ():
            policy = comment.keys.get(_POLICY, "")
            namespace, _, rest = policy.partition(":")
            name, _, form = rest.partition(":")
            if f"{namespace}:{name}" != target.marker:
                others.add(f"{namespace}:{name}")
            elif form in _FORMS:
                slots.append(slot(tree, _FORMS[form], comment.node, shared=True))
    if not slots:
        remedy = (
            f"found: {', '.join(sorted(others - {':'}))}"
            if others - {":"}
            else "markers stand behind a value, on its line"
        )
        raise NotFoundError(f"{stream.name}:1", f"no value has a marker of {target.marker}", remedy)
    return Slots(tuple(slots))


def markers(place: Place, paused: bool) -> Iterator[tuple[Tree, Splice]]:
    """What takes `paused ` away from the markers beside a place's scalars, or puts it there."""
    for tree in {id(tree): tree for tree, _ in place.scalars if not tree.outside}.values():
        held = {id(node) for _, node in place.scalars}
        for comment in comments(tree, _POLICY):
            if id(comment.node) in held and comment.paused == paused and _POLICY in comment.keys:
                start = comment.at - len("paused ") * paused
                yield tree, Splice(start, comment.at, "" if paused else "paused ")


# --- kpt


def setters(stream: Stream, target: Target) -> Slots:
    """What a setter sets: all values with it in their comment, and its own value in a Kptfile."""
    slots = []
    for tree in stream.about(target.setter):
        slots += [each for comment in comments(tree, target.setter) for each in _set(comment, target)]
        slots += [slot(tree, target.part, node) for node in _kptfile(tree, target.setter)]
    if not slots:
        remedy = f"write # kpt-set: ${{{target.setter}}} behind the value"
        raise NotFoundError(f"{stream.name}:1", f"no value has the setter {target.setter}", remedy)
    return Slots(tuple(map(check_image, slots)))


def _set(comment: Comment, target: Target) -> Iterator[Slot]:
    if comment.paused:
        return
    keys = comment.keys
    names = [keys.get("$kpt-set"), keys.get("$openapi"), keys.get("$ref", "").removeprefix(_OLD_SETTER)]
    if target.setter in names:
        yield slot(comment.tree, target.part, comment.node, shared=True)
    if not comment.words.startswith("kpt-set: "):
        return
    pattern = comment.words.removeprefix("kpt-set: ").strip()
    literals, variables = _VARIABLE.split(pattern)[::2], _VARIABLE.findall(pattern)
    if target.setter not in variables:
        return
    whole = slot(comment.tree, target.part, comment.node, shared=True)
    if pattern == f"${{{target.setter}}}":
        yield whole
        return
    where = comment.tree.where(comment.node)
    if variables.count(target.setter) > 1 or len(variables) > 4:
        raise RefusedError(where, f"the pattern {pattern} is too much to take apart", "set it by hand")
    groups = [f"({_TEXTS.get(target.part, '.*')})" if each == target.setter else ".*?" for each in variables]
    expression = "".join(re.escape(text) + group for text, group in zip(literals, [*groups, ""], strict=True))
    match = re.fullmatch(expression, comment.node.value)
    if not match:
        raise RefusedError(where, f"{comment.node.value} is nothing that {pattern} makes", "correct one of them")
    value = comment.node.value
    if target.part == IMAGE and value[match.end(1) : match.end(1) + 1] in (":", "@"):
        raise RefusedError(where, f"{pattern} has more of the image than {target.setter}", "say which part: it is")
    yield Slot(comment.tree, target.part, comment.node, value[: match.start(1)], value[match.end(1) :])


def _kptfile(tree: Tree, setter: str) -> Iterator[yaml.ScalarNode]:
    """A setter's value in the pipeline of a Kptfile, and in the definitions of an old one."""
    for document in tree.documents:
        if scalar(tree.peek(document, "kind")) != "Kptfile":
            continue
        found = []
        for stage in ("mutators", "validators"):
            functions = tree.peek(document, "pipeline", stage)
            if isinstance(functions, yaml.SequenceNode):
                found += [tree.peek(each, "configMap", setter) for each in functions.value]
        old = f"io.k8s.cli.setters.{setter}"
        found.append(tree.peek(document, "openAPI", "definitions", old, "x-k8s-cli", "setter", "value"))
        yield from (each for each in found if isinstance(each, yaml.ScalarNode))
