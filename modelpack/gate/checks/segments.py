"""The same question for each value of a label: region, device.

Many segments are many chances to be wrong. So half of a check's alpha is for all traffic together, and the other half
is shared out equally over the segments that were declared, seen or not (Bonferroni): however they depend on each other,
the chance of one wrong verdict among all of them stays at alpha.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from modelpack.fields import Fields
from modelpack.gate.checks.check import Cells, Slice

OTHERS = "other"
MOST = 50
LONGEST = 63  # characters of a value that gets a row of its own
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class Segments:
    """The values of `label` that are looked at: `values`, else the first `most` that are seen, the rest as "other".

    `margin` and `min_sample` are the check's own where they are None.
    """

    label: str
    values: tuple[str, ...] = ()
    most: int = 0
    margin: float | None = None
    min_sample: int | None = None

    @classmethod
    def parse(cls, fields: Fields, *, margin: bool = True) -> Segments | None:
        """`segments` of a check, None without; raises InputError with file and line."""
        if "segments" not in fields:
            return None
        inside = fields.mapping("segments")
        label = inside.text("label")
        if not _LABEL.fullmatch(label):
            raise inside.error("label", f"{label!r} is not the name of a label")
        values = inside.texts("values")
        if ("most" in inside) == bool(values):
            raise inside.error("values" if "values" in inside else "label", "either values or most is needed, not both")
        if len(set(values)) < len(values) or not all(values):
            raise inside.error("values", "holds a value twice, or an empty one")
        if len(values) > MOST:
            raise inside.error("values", f"has {len(values)} values, {MOST} can be told apart")
        found = cls(
            label=label,
            values=values,
            most=inside.integer("most", 0, low=1, high=MOST) if "most" in inside else 0,
            margin=inside.number("margin", low=0) if margin and "margin" in inside else None,
            min_sample=inside.integer("min_sample", low=1) if "min_sample" in inside else None,
        )
        inside.done()
        return found

    @property
    def declared(self) -> int:
        """How many segments share alpha."""
        return len(self.values) or self.most + 1

    def names(self, seen: Iterable[str]) -> tuple[str, ...]:
        """The segments, of values in the order in which they were first seen."""
        if self.values:
            return self.values
        first = [each for each in dict.fromkeys(seen) if each != OTHERS and _is_name(each)]
        return (*first[: self.most], OTHERS)

    def pick(self, slices: Mapping[str, tuple[Slice, ...]]) -> dict[str, tuple[Slice, ...]]:
        """Slices by segment; those that no segment is declared for are added up as the others, or left out."""
        # by time and then by name, so that a value that was picked once is picked again at the next look
        seen = sorted((several[0].end, name) for name, several in slices.items() if name and several)
        names = self.names(name for _, name in seen)
        if self.values:
            return {name: slices.get(name, ()) for name in names}
        picked = {name: slices[name] for name in names if name != OTHERS}
        return {**picked, OTHERS: _added(several for name, several in slices.items() if name and name not in picked)}


def split(segments: Segments | None, alpha: float) -> tuple[float, float]:
    """(alpha for all traffic together, alpha for each segment)."""
    return (alpha / 2, alpha / 2 / segments.declared) if segments else (alpha, 0.0)


def _is_name(value: str) -> bool:
    """Whether a label's value, which may be anything, can be shown as it is."""
    return 0 < len(value) <= LONGEST and value.isprintable()


def _added(many: Iterable[tuple[Slice, ...]]) -> tuple[Slice, ...]:
    found: dict[tuple[float, int], Slice] = {}
    for each in (each for several in many for each in several):
        known = found.get((each.end, each.step))
        if known:
            each = replace(known, canary=_sum(known.canary, each.canary), primary=_sum(known.primary, each.primary))
        found[each.end, each.step] = each
    return tuple(found[at] for at in sorted(found))


def _sum(one: Cells, other: Cells) -> Cells:
    return {cell: one.get(cell, 0.0) + other.get(cell, 0.0) for cell in {**one, **other}}
