"""`model-images/<name>/gate.yaml`: what decides on a promotion, read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelpack.definition import API_VERSION
from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.checks import Comparison, Golden, parse_check
from modelpack.gate.signals import Drift, Labels, read_signals

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DEFAULT_ALPHA = 0.05


@dataclass(frozen=True)
class GateConfig:
    """`horizon` is in seconds of traffic, `alpha` the chance of a wrong verdict over all comparisons together.

    `signals` say when what serves calls for a new model; they decide on no rollout.
    """

    name: str
    horizon: float
    alpha: float
    checks: tuple[Golden | Comparison, ...]
    signals: tuple[Labels | Drift, ...] = ()

    @property
    def golden(self) -> Golden | None:
        return next((check for check in self.checks if isinstance(check, Golden)), None)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        return tuple(check for check in self.checks if isinstance(check, Comparison))

    def alpha_of(self, check: Golden | Comparison) -> float:
        """The check's own alpha, else an equal share of the rollout's (Bonferroni)."""
        own = check.alpha if isinstance(check, Comparison) else None
        return own if own is not None else self.alpha / max(1, len(self.comparisons))


def parse(data: bytes, name: str, golden: bytes | None, golden_name: str) -> GateConfig:
    """Read gate.yaml and, if a check needs it, golden.jsonl (None: there is no such file).

    Raises InputError with file and line.
    """
    fields = read(data, name)
    fields.choice("apiVersion", [API_VERSION])
    fields.choice("kind", ["Gate"])
    metadata = fields.mapping("metadata")
    model = metadata.text("name")
    metadata.done()
    checks: list[Golden | Comparison] = []
    for each in fields.mappings("checks"):
        check = parse_check(each)
        if not _NAME.fullmatch(check.name):
            raise each.error("name", f"{check.name!r} is not a name", "use letters, digits, dash, dot and underscore")
        if any(other.name == check.name for other in checks):
            raise each.error("name", f"{check.name!r} is given twice")
        if isinstance(check, Golden):
            if any(isinstance(other, Golden) for other in checks):
                raise each.error("type", "a second golden check", "one golden set a model is known")
            if golden is None:
                raise InputError(golden_name, "there is no such file", f"check {check.name!r} of {name} needs it")
            check = check.with_examples(golden, golden_name)
        checks.append(check)
    if not checks:
        raise fields.error("checks", "has no checks", "a gate without checks would accept everything")
    config = GateConfig(
        name=model,
        horizon=fields.duration("horizon"),
        alpha=fields.number("alpha", DEFAULT_ALPHA, low=1e-6, high=0.5),
        checks=tuple(checks),
        signals=read_signals(fields),
    )
    fields.done()
    return config
