"""Series selectors as `gate.yaml` writes them: `name{label="value",…}`, nothing of PromQL beyond that.

`${namespace}`, `${name}` and `${role}` in a label's value stand for the Canary's own and for `canary` or `primary`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelpack.errors import InputError

PLACEHOLDERS = ("namespace", "name", "role")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?", re.DOTALL)
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!=|!~|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_WRITTEN = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


@dataclass(frozen=True)
class Selector:
    """A metric's name and the labels that a series must have, in order of their names."""

    metric: str
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, error: Callable[[str], InputError]) -> Selector:
        """Read a selector; `error` makes what is raised for one that is none, with its place."""
        found = _SELECTOR.fullmatch(text.strip())
        if not found:
            raise error(f'{text!r} is not a selector, write name{{label="value"}}')
        metric, inside = found.group(1), found.group(2) or ""
        labels: dict[str, str] = {}
        at = 0
        while inside[at:].strip():
            matcher = _MATCHER.match(inside, at)
            if not matcher:
                raise error(f'{inside[at:].strip()!r} is not label="value"')
            label, operator, value = matcher.groups()
            if operator != "=":
                raise error(f"label {label!r} is matched by {operator!r}, only = is known")
            if label in labels:
                raise error(f"label {label!r} is given twice")
            cls.check_text(value, error)
            labels[label] = re.sub(r'\\[n"\\]', lambda escape: _ESCAPES[escape.group()], value)
            at = matcher.end()
        return cls(metric, tuple(sorted(labels.items())))

    def fill(self, values: Mapping[str, str]) -> Selector:
        """The selector with these placeholders replaced, others left."""
        return Selector(self.metric, tuple((label, self.fill_text(text, values)) for label, text in self.labels))

    @staticmethod
    def check_text(text: str, error: Callable[[str], InputError]) -> None:
        """Raise `error` for a placeholder in a text that nothing fills."""
        for name in _PLACEHOLDER.findall(text):
            if name not in PLACEHOLDERS:
                raise error(f"${{{name}}} is not one of {', '.join(f'${{{each}}}' for each in PLACEHOLDERS)}")

    @staticmethod
    def fill_text(text: str, values: Mapping[str, str]) -> str:
        """A text with these placeholders replaced, others left."""
        return _PLACEHOLDER.sub(lambda each: values.get(each.group(1), each.group()), text)

    def promql(self) -> str:
        """The selector as Prometheus reads it."""
        labels = ",".join(f'{name}="{value.translate(_WRITTEN)}"' for name, value in self.labels)
        return f"{self.metric}{{{labels}}}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(label) == value for label, value in self.labels)
