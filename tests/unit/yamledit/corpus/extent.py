"""How much of a file an edit changed beyond its target."""

from __future__ import annotations

import difflib

from tests.unit.yamledit.corpus import Case

_OF_AN_ENTRY = (b"images:", b"name:", b"newName", b"newTag", b"digest", b"{}", b"[]", b"null")


def beyond(case: Case, after: bytes) -> int:
    """Bytes changed beyond the target: lines are paired as by `diff`, and the ends that a pair has in common are none.

    A line that went or came counts whole, unless it belongs to an entry of `images` that had to be completed.
    """
    if case.adds is None and case.kept(after):
        return 0
    base = (case.data if case.adds is not None else case.ideal).splitlines(keepends=True)
    lines = after.splitlines(keepends=True)
    count = 0
    for kind, a, b, c, d in difflib.SequenceMatcher(None, base, lines, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        old, new = base[a:b], lines[c:d]
        if case.adds is not None:
            old, new = ([each for each in side if not any(key in each for key in _OF_AN_ENTRY)] for side in (old, new))
        if len(old) == len(new):
            count += sum(_apart(*pair) for pair in zip(old, new, strict=True))
        else:
            count += sum(map(len, old)) + sum(map(len, new))
    return count


def added_only(before: bytes, after: bytes, stale: tuple[str, ...]) -> bool:
    """Whether every byte is still there, in order, but for some values that had to go."""
    for each in stale:
        before = before.replace(each.encode(), b"")
    rest = iter(after)
    return all(byte in rest for byte in before)


def _apart(old: bytes, new: bytes) -> int:
    if old == new:
        return 0
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    return max(len(old), len(new)) - head - tail


def _common(left: bytes, right: bytes) -> int:
    """How many bytes two texts begin with alike."""
    shorter = min(len(left), len(right))
    return next((at for at in range(shorter) if left[at] != right[at]), shorter)
