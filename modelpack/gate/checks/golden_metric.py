"""The metrics of a golden check: modelpack.quality's, the area under the ROC curve, and a user's own.

A user's metric is an entry point of the group `modelpack.metrics`: a function of two sequences of the same length, what
is expected and what was predicted, that gives a number. It should be smooth in its examples, as means, shares and their
ratios are: its interval comes from the jackknife (Tukey 1958; Efron and Stein 1981, "The jackknife estimate of
variance"), which a median or a maximum does not suit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from modelpack.fields import Fields
from modelpack.gate.checks.golden_set import is_text
from modelpack.quality import answers, paired
from modelpack.quality.interval import FEWEST
from modelpack.quality.metrics import UNKNOWN, Estimate, classification, ranking, regression
from modelpack.quality.paired import Paired

if TYPE_CHECKING:
    from modelpack.quality.metrics import Floats

GROUP, OWN = "modelpack.metrics", "entry-point:"
OF_NUMBERS, OF_CLASSES, OF_SCORES = ("mae", "rmse"), ("accuracy", "precision", "recall", "f1"), "auc"
METRICS = (*OF_NUMBERS, *OF_CLASSES, OF_SCORES)
_ONE_CLASS = ("precision", "recall", "f1", OF_SCORES)  # where `positive` means something
_WORDS = {
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "accuracy": "share of right answers",
    "auc": "area under the ROC curve",
}
_LEFT_OUT = 500  # calls of a user's metric that an interval may cost

Function = Callable[[Sequence[Any], Sequence[Any]], float]


@dataclass(frozen=True)
class Metric:
    """`positive` is the class that precision, recall, f1 and auc are of, "" for the plain mean over all classes."""

    name: str
    lower_is_better: bool = False
    positive: str = ""
    own: Function | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Metric:
        name = fields.text("metric")
        if name.startswith(OWN):
            better = fields.choice("better", ("higher", "lower"))
            return cls(name.removeprefix(OWN), better == "lower", own=_installed(fields, name.removeprefix(OWN)))
        fields.choice("metric", METRICS)
        positive = ""
        if name in _ONE_CLASS:
            positive = answers.label(fields.text("positive", "")) or ""
            average = fields.choice("average", ("macro",), "")
            if name == OF_SCORES and not positive:
                raise fields.error("positive", "is missing, auc needs the class whose score is predicted")
            if positive and average:
                raise fields.error("average", "goes with all classes, positive with one", "leave one of them out")
        return cls(name, name in OF_NUMBERS, positive)

    @property
    def words(self) -> str:
        of = f" of {self.positive}" if self.positive else ""
        return f"{_WORDS.get(self.name, self.name) if self.own is None else self.name}{of}"

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1 by its nature."""
        return self.own is None and not self.of_numbers and self.name != OF_SCORES

    @property
    def of_numbers(self) -> bool:
        return self.own is None and self.name in OF_NUMBERS

    def is_expected(self, value: Any) -> bool:
        """Whether an example can expect this."""
        return _is_number(value) if self.of_numbers else _label(value) is not None

    def is_prediction(self, value: Any) -> bool:
        """Whether this can be held against what is expected; a label of no known class can, and is wrong."""
        if self.own is None and self.name == OF_SCORES:
            return _is_number(value)
        return self.is_expected(value)

    def why_undefined(self, expected: Sequence[Any]) -> str:
        """What is missing in a set of examples, "" if nothing is."""
        positive = sum(_label(each) == self.positive for each in expected)
        if self.positive and not positive:
            return f"no example expects {self.positive!r}, the positive class"
        if self.name == OF_SCORES and positive == len(expected):
            return f"every example expects {self.positive!r}: auc needs others too"
        return ""

    def compare(
        self, expected: Sequence[Any], canary: Sequence[Any], primary: Sequence[Any], alpha: float, fewest: int = FEWEST
    ) -> Paired:
        """Canary (`new`) against primary (`old`), with the two-sided interval of confidence 1 - alpha.

        Raises ValueError where a user's metric fails.
        """
        import numpy as np

        if not expected:
            return Paired(None)
        if self.own is not None:
            after, before = (self._estimate_own(expected, each, fewest) for each in (canary, primary))
            rows = len(after.influence)
            return paired.between(after, before, np.ones(rows), 1 - alpha, enough=rows >= fewest)
        if self.of_numbers:
            truth, new, old = (np.array(each, dtype=float) for each in (expected, canary, primary))
            return paired.numbers(self.name, truth, new, old, 1 - alpha, fewest=fewest)
        if self.name == OF_SCORES:
            new, old = (np.array(each, dtype=float) for each in (canary, primary))
            return paired.scores(self._positives(expected), new, old, 1 - alpha, fewest=fewest)
        (codes, ours, theirs), counted = self._classes(expected, canary, primary)
        if not counted.any():
            return Paired(None)
        return paired.labels(self.name, codes, ours, theirs, counted, 1 - alpha, fewest=fewest)

    def alone(
        self, expected: Sequence[Any], canary: Sequence[Any], alpha: float, fewest: int = FEWEST
    ) -> tuple[float | None, float | None, float | None]:
        """The canary's own value with its interval, to be held against a number."""
        import numpy as np

        found: Estimate | None
        if not expected:
            return None, None, None
        if self.own is not None:
            found = self._estimate_own(expected, canary, fewest)
        elif self.of_numbers:
            found = regression(self.name, np.array(expected, dtype=float), np.array(canary, dtype=float))
        elif self.name == OF_SCORES:
            found = ranking(self._positives(expected), np.array(canary, dtype=float))
        else:
            (truth, new), counted = self._classes(expected, canary)
            found = classification(self.name, truth, new, np.ones(len(truth)), counted) if counted.any() else None
        if found is None:
            return None, None, None
        nothing = Estimate(0.0, np.zeros(len(found.influence)))
        rows = len(found.influence)
        one = paired.between(found, nothing, np.ones(rows), 1 - alpha, enough=rows >= fewest)
        return found.value, one.low, one.high

    def errors(self, expected: Sequence[Any], predicted: Sequence[Any]) -> list[float]:
        """How wrong each prediction is, to see the worst: a distance, 1 for a wrong label; for auc the share of the
        other kind's examples that it stands on the wrong side of."""
        if self.own is None and self.name == OF_SCORES:
            import numpy as np

            positives = self._positives(expected)
            found = ranking(positives, np.array(predicted, dtype=float))
            if found is None:
                return [0.0] * len(expected)
            counts = np.where(positives, positives.sum(), (~positives).sum())
            return [float(each) for each in 1 - found.value - found.influence * counts / len(expected)]
        pairs = list(zip(expected, predicted, strict=True))
        if self.of_numbers or (self.own and all(_is_number(each) for pair in pairs for each in pair)):
            return [abs(float(value) - float(right)) for right, value in pairs]
        return [float(_label(right) != _label(value)) for right, value in pairs]

    def remark(self, expected: Sequence[Any], predicted: Sequence[Any]) -> str:
        """What is odd about answers that are all wrong, "" if they are not."""
        if self.own is not None or self.name not in OF_CLASSES or not predicted:
            return ""
        known = {_label(each) for each in expected}
        if any(_label(each) in known for each in predicted):
            return ""
        return f"none of its answers is a class that is expected, the first is {str(predicted[0])[:80]!r}"

    def _positives(self, expected: Sequence[Any]) -> Any:
        import numpy as np

        return np.array([_label(each) == self.positive for each in expected], dtype=bool)

    def _classes(self, expected: Sequence[Any], *predicted: Sequence[Any]) -> tuple[list[Any], Floats]:
        """All columns as numbers of classes, and how much each class counts."""
        import numpy as np

        known = sorted({_label(each) or "" for each in expected})
        code = {each: place for place, each in enumerate(known)}
        columns = [
            np.array([code.get(_label(each) or "", UNKNOWN) for each in column], dtype=np.int64)
            for column in (expected, *predicted)
        ]
        counted = [float(each == self.positive) if self.positive else 1 / len(known) for each in known]
        return columns, np.array(counted)

    def _estimate_own(self, expected: Sequence[Any], predicted: Sequence[Any], fewest: int) -> Estimate:
        """A user's metric, and what it does where groups of examples are left out, one after the other."""
        import numpy as np

        groups = min(len(expected), _LEFT_OUT)
        value = self._call(expected, predicted)
        if groups < fewest:
            return Estimate(value, np.zeros(groups))
        without = []
        for group in range(groups):
            kept = [place for place in range(len(expected)) if place % groups != group]
            without.append(self._call([expected[place] for place in kept], [predicted[place] for place in kept]))
        influence = (groups - 1) * (np.mean(without) - np.array(without))
        return Estimate(value, influence)

    def _call(self, expected: Sequence[Any], predicted: Sequence[Any]) -> float:
        assert self.own is not None
        try:
            value = float(self.own(list(expected), list(predicted)))
        except Exception as error:  # it is not ours, and may raise anything
            raise ValueError(f"metric {self.name} raised {type(error).__name__}: {str(error)[:200]}") from error
        if not math.isfinite(value) or abs(value) > 1e100:
            raise ValueError(f"metric {self.name} gave {value:g}, which is no finite number")
        return value


def _installed(fields: Fields, name: str) -> Function:
    found = {each.name: each for each in entry_points(group=GROUP)}
    if name not in found:
        known = f"there are {', '.join(sorted(found))}" if found else ""
        raise fields.error("metric", f"no entry point {name!r} of group {GROUP} is installed here", known)
    try:
        function: Function = found[name].load()
    except Exception as error:
        raise fields.error("metric", f"entry point {name!r} cannot be loaded: {error}") from error
    if not callable(function):
        raise fields.error("metric", f"entry point {name!r} is not a function")
    return function


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return answers.number(value) is not None


def _label(value: Any) -> str | None:
    """A class as text: 3, 3.0 and "3" are one, and so are true and "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not is_text(value):
        return None
    return answers.label(value) if isinstance(value, str) or _is_number(value) else None
