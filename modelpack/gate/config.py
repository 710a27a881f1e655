"""`model-images/<name>/gate.yaml`: what decides on a promotion, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelpack.definition import API_VERSION
from modelpack.errors import NotFoundError
from modelpack.fields import read
from modelpack.gate.checks import Approval, Check, Golden, ReadsFiles, parse_check
from modelpack.gate.signals import Spec, read_signals

FILE = "gate.yaml"
FILES = (FILE, "golden.jsonl", "reference.json", "benchmark.json")  # what a model's folder may hold for its gate
DEFAULT_ALPHA = 0.05
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class GateConfig:
    """`horizon` is in seconds of traffic, `alpha` the chance of a wrong verdict over all checks together.

    `signals` say when what serves calls for a new model; they decide on no rollout.
    """

    name: str
    horizon: float
    alpha: float
    checks: tuple[Check, ...]
    signals: tuple[Spec, ...] = ()

    @property
    def goldens(self) -> tuple[Golden, ...]:
        return tuple(check for check in self.checks if isinstance(check, Golden))

    def alpha_of(self, check: Check) -> float:
        """The check's own alpha, else an equal share of what those leave of the rollout's (Bonferroni); 0.0 for one
        that cannot be wrong by chance."""
        if not check.compares:
            return 0.0
        own = [each.alpha for each in self.checks if each.compares]
        left = self.alpha - sum(each for each in own if each is not None)
        return check.alpha if check.alpha is not None else left / own.count(None)


def parse(files: Mapping[str, bytes], folder: str, model: str = "", shown: str = "") -> GateConfig:
    """Read a model's gate.yaml, and of the files beside it those that its checks need.

    `model` is what it has to call the model, "" for anything; `shown` is what messages call it where it is not the one
    in `folder`.

    Raises InputError with file and line, NotFoundError without a gate.yaml.
    """
    if FILE not in files:
        raise NotFoundError(f"{folder}/{FILE}", "there is no such file")
    fields = read(files[FILE], shown or f"{folder}/{FILE}")
    fields.choice("apiVersion", [API_VERSION])
    fields.choice("kind", ["Gate"])
    metadata = fields.mapping("metadata")
    name = metadata.text("name")
    if model and name != model:
        raise metadata.error("name", f"is {name!r}, not {model!r}")
    metadata.done()
    checks: list[Check] = []
    alpha = fields.number("alpha", DEFAULT_ALPHA, low=1e-6, high=0.5)
    for each in fields.mappings("checks"):
        check = parse_check(each)
        if not _NAME.fullmatch(check.name):
            raise each.error("name", f"{check.name!r} is not a name", "use letters, digits, dash, dot and underscore")
        if any(other.name == check.name for other in checks):
            raise each.error("name", f"{check.name!r} is given twice")
        if isinstance(check, Approval) and any(isinstance(other, Approval) for other in checks):
            raise each.error("type", "is approval a second time", "a person is asked once for each rollout")
        checks.append(check.with_files(files, folder) if isinstance(check, ReadsFiles) else check)
    if not checks:
        raise fields.error("checks", "has no checks", "a gate without checks would accept everything")
    own = [check.alpha for check in checks if check.compares]
    spent = sum(each for each in own if each is not None)
    if spent > alpha + 1e-12 or (None in own and spent >= alpha):
        problem = f"is {alpha:g}, and the checks' own are {spent:g} together"
        raise fields.error("alpha", problem, "it is the chance of a wrong verdict over all checks: give them less")
    config = GateConfig(name, fields.duration("horizon"), alpha, tuple(checks), read_signals(fields, files, folder))
    fields.done()
    return config
