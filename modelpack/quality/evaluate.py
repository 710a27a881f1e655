"""The quality gate: a candidate against the current model and fixed limits, on the same rows.

Three things decide, and a model passes only if none of them fails:

- Over all held-out rows each metric must be *shown* to be at most its margin worse than the current model's: the whole
  interval of the difference lies within the margin (a test of non-inferiority). Every metric must pass, so that a model
  that is too much worse in any of them passes with a chance of (1 - confidence) / 2 at most, however many there are
  (an intersection-union test: Berger 1982, "Multiparameter hypothesis testing and acceptance sampling").
- Its value must keep the limit, on the held-out rows and on the benchmark: a fixed exam, whose rows are no sample.
- In no segment, and no class where precision or recall is asked for, may it be shown to be more than the margin worse.
  Those intervals hold together (Bonferroni over all groups), so that they stop a good model with a chance of
  (1 - confidence) / 2 at most in all. They cannot make up for one another: a group with few rows just stops nothing.

benchmarks/quality.py measures these rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelpack.errors import InputError
from modelpack.quality import paired
from modelpack.quality.answers import Answers, Sample, label, read
from modelpack.quality.evaluation import (
    BENCHMARK,
    CLASSIFICATION,
    FOLDS,
    HELD_OUT,
    LOWER_IS_BETTER,
    REGRESSION,
    Criterion,
    Evaluation,
    Row,
)
from modelpack.quality.interval import FEWEST

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_GROUPS = 50  # of a segment column, and classes that are shown
_CLOSE = 1e-12  # of two numbers that rounding alone tells apart


def evaluate(
    heldout: Sample,
    target: str,
    criteria: Sequence[Criterion],
    *,
    benchmark: Sample | None = None,
    confidence: float = 0.95,
    segments: Sequence[str] = (),
    model: str = "",
    version: str = "",
    against: str = "",
) -> Evaluation:
    """Hold a candidate against the current model, as the module says.

    `target` is the column of both tables with what is right, `segments` are columns of the held-out one; `confidence`
    is that of the two-sided intervals; `against` names the current model. Raises InputError for tables, predictions
    or criteria that cannot be used; a candidate that answers badly, or not at all, just does not pass.
    """
    plan = _Plan(tuple(criteria), target, confidence, tuple(segments))
    rows = [*_judge(plan, heldout, HELD_OUT)]
    if benchmark is not None:
        rows += _judge(replace(plan, segments=()), benchmark, BENCHMARK)
    return _conclude(rows, confidence, model, version, against if heldout.old is not None else "")


def compare(
    folds: Sequence[Sample],
    target: str,
    criteria: Sequence[Criterion],
    *,
    confidence: float = 0.95,
    segments: Sequence[str] = (),
    model: str = "",
    version: str = "",
    against: str = "",
) -> Evaluation:
    """Hold one pipeline (`new`) against another (`old`): each fold's rows were predicted by models of both that learned
    from the other folds. Raises InputError like `evaluate`.

    All rows are paired in one table. Models of different folds share most of what they learned from, which makes the
    plain interval too narrow: it is widened by sqrt(1 + k * test/train) for k folds (Nadeau and Bengio 2003, "Inference
    for the generalization error", 3).
    """
    import pandas as pd

    if len(folds) < 2:
        raise InputError("folds", "are fewer than two")
    whole = Sample(
        pd.concat([fold.table for fold in folds], ignore_index=True),
        [each for fold in folds for each in _all(fold, fold.new)],
        [each for fold in folds for each in _all(fold, fold.old)],
    )
    spread = (1 + len(folds) / (len(folds) - 1)) ** 0.5  # test/train is 1/(k - 1)
    plan = _Plan(tuple(criteria), target, confidence, tuple(segments), spread)
    return _conclude([*_judge(plan, whole, FOLDS)], confidence, model, version, against)


def _all(fold: Sample, given: Sequence[Any] | None) -> Sequence[Any]:
    """A fold's predictions; one too many in a fold and one too few in the next must not shift all between them."""
    count = 0 if given is None else len(given)
    if given is None or count != len(fold.table):
        raise InputError("a fold", f"has {len(fold.table)} rows and {count} predictions", "predict each row once")
    return given


@dataclass(frozen=True)
class _Plan:
    criteria: tuple[Criterion, ...]
    target: str
    confidence: float
    segments: tuple[str, ...]
    spread: float = 1.0

    def __post_init__(self) -> None:
        metrics = {each.metric for each in self.criteria}
        if not metrics or (metrics & set(REGRESSION) and metrics & set(CLASSIFICATION)):
            remedy = f"either of {', '.join(REGRESSION)}, or of {', '.join(CLASSIFICATION)}"
            raise InputError("metrics", "are none, or of numbers and of classes at once", remedy)

    @property
    def of_classes(self) -> bool:
        return self.criteria[0].metric in CLASSIFICATION


def _judge(plan: _Plan, sample: Sample, data: str) -> Iterator[Row]:
    """A sample's rows of the table: all of it, then segments, then classes."""
    import numpy as np

    answers = read(sample, plan.target, data, classes=plan.of_classes)
    missing = int((~answers.answered_new).sum())
    if missing:
        first, n = int(np.argmin(answers.answered_new)) + 1, len(answers.truth)
        reason = f"{missing} of {n} rows got no {'label' if plan.of_classes else 'finite number'}, row {first} first"
        for each in plan.criteria:
            yield Row(data, "", each.metric, n, None, None, verdict="fail", reason=reason)
        return
    kept = answers.answered_old
    note = "" if kept.all() else f"{int((~kept).sum())} rows that the current model has no answer to are left out"
    if answers.old is not None and kept.sum() < FEWEST <= len(kept):
        answers, kept = replace(answers, old=None), np.ones(len(kept), dtype=bool)
        note = "the current model answers too few rows to be compared"
    for each in plan.criteria:
        row = _decide(each, _row(plan, answers, kept, data, "", each.metric, plan.confidence), note)
        yield row if note in row.reason else replace(row, reason=f"{row.reason}; {note}")
    groups = [*_groups(plan, sample, answers, kept, data)] if data != BENCHMARK else []
    together = 1 - (1 - plan.confidence) / max(1, len(groups))
    asked = {each.metric: each for each in plan.criteria}
    for name, metric, chosen, one in groups:
        yield _veto(asked.get(metric), _row(plan, answers, chosen, data, name, metric, together, one))


def _groups(
    plan: _Plan, sample: Sample, answers: Answers, kept: npt.NDArray[np.bool_], data: str
) -> Iterator[tuple[str, str, npt.NDArray[np.bool_], int | None]]:
    """What is looked at beside all rows: a name, a metric, the rows, and the one class that counts, None for all."""
    import numpy as np

    for column in plan.segments:
        if column not in sample.table.columns:
            raise InputError(data, f"has no column {column!r}", "segments of training.yaml are columns of the data")
        values = np.array([label(each) or "nothing" for each in sample.table[column].tolist()], dtype=object)
        names = sorted(set(values))
        if len(names) > MOST_GROUPS:
            remedy = "name a column that divides the data into few segments"
            raise InputError(data, f"{column} has {len(names)} values, {MOST_GROUPS} at most make segments", remedy)
        for name in names:
            for each in plan.criteria:
                yield f"{column}={name}", each.metric, kept & (values == name), None
    counts = np.bincount(answers.truth[kept], minlength=len(answers.classes)) if plan.of_classes else np.zeros(0)
    shown = sorted(np.argsort(-counts, kind="stable")[:MOST_GROUPS].tolist())
    for place in shown:
        for metric in ("precision", "recall"):
            yield f"class {answers.classes[place]}", metric, kept, place


def _row(
    plan: _Plan,
    answers: Answers,
    chosen: npt.NDArray[np.bool_],
    data: str,
    group: str,
    metric: str,
    confidence: float,
    one: int | None = None,
) -> Row:
    """A metric of both models over the chosen rows, and the interval of its difference; of class `one` if given."""
    import numpy as np

    truth, new = answers.truth[chosen], answers.new[chosen]
    old = None if answers.old is None else answers.old[chosen]
    n = len(truth) if one is None else int((truth == one).sum())
    if not n:
        return Row(data, group, metric, n, None, None)
    if metric in REGRESSION:
        found = paired.numbers(metric, truth, new, old, confidence, spread=plan.spread)
    else:
        counted = np.zeros(len(answers.classes))
        present = np.unique(truth) if one is None else np.array([one])
        counted[present] = 1 / len(present)
        found = paired.labels(metric, truth, new, old, counted, confidence, spread=plan.spread)
    return Row(data, group, metric, n, found.old, found.new, found.difference, found.low, found.high)


def _decide(criterion: Criterion, row: Row, note: str) -> Row:
    """The verdict over all rows of a sample."""
    limit, lower = criterion.limit_on(row.data), row.metric in LOWER_IS_BETTER
    if row.new is None:
        return replace(row, verdict="fail", reason=f"{row.metric} is not defined where all targets are the same")
    if limit is not None and (row.new - limit) * (1 if lower else -1) > _CLOSE:
        word = "most" if lower else "least"
        return replace(row, verdict="fail", reason=f"{row.metric} is {row.new:.4g}, at {word} {limit:g} is wanted")
    if row.data == BENCHMARK:
        return replace(row, verdict="" if limit is None else "pass", reason=note)
    if row.n < FEWEST:
        return replace(row, verdict="fail", reason=f"{row.n} rows are too few to judge by, {FEWEST} are the fewest")
    if row.old is None and note and limit is None:  # nothing is known of it then: that is no first model
        return replace(row, verdict="fail", reason=f"{note}, and {row.metric} has no limit to keep")
    if row.old is None:
        return replace(row, verdict="pass" if limit is not None else "", reason=note)
    worse, worst = _worsening(row)
    if worst <= criterion.margin + _CLOSE:
        return replace(row, verdict="pass", reason=note)
    reason = f"{row.metric} may be {worst:.2g} worse than the current model's, {criterion.margin:g} is allowed"
    if worse < criterion.margin:  # the interval's half width goes with 1 / sqrt(n)
        needed = row.n * ((worst - worse) / (criterion.margin - worse)) ** 2
        if needed < 1000 * row.n:
            reason += f": the same difference over some {_round_up(needed)} rows would show it"
    return replace(row, verdict="fail", reason=reason)


def _veto(criterion: Criterion | None, row: Row) -> Row:
    """The verdict of a group: it fails where it is shown to be worse."""
    if criterion is None or row.low is None or row.high is None:
        return row
    least = row.low if row.metric in LOWER_IS_BETTER else -row.high
    if least <= criterion.margin + _CLOSE:
        return replace(row, verdict="pass")
    reason = f"{row.metric} of {row.group} is at least {least:.2g} worse than the current model's"
    return replace(row, verdict="fail", reason=f"{reason}, {criterion.margin:g} is allowed")


def _worsening(row: Row) -> tuple[float, float]:
    """How much worse it is, and at worst may be."""
    assert row.difference is not None and row.low is not None and row.high is not None
    return (row.difference, row.high) if row.metric in LOWER_IS_BETTER else (-row.difference, -row.low)


def _round_up(value: float) -> int:
    """To two digits that count."""
    step = 10 ** max(0, len(str(int(value))) - 2)
    return int(-(-value // step) * step)


def _conclude(rows: Sequence[Row], confidence: float, model: str, version: str, against: str) -> Evaluation:
    failed = [each for each in rows if each.verdict == "fail"]
    judged = [each for each in rows if each.verdict and not each.group]
    if failed:
        first = [f"{each.data}: {each.reason}" for each in failed[:3]]
        reason = "; ".join(first) + (f"; and {len(failed) - 3} more" if len(failed) > 3 else "")
    elif not judged:
        reason = "nothing was asked: there is no current model, and no metric has a limit"
    else:
        reason = ", ".join(f"{each.metric} {_told(each)}" for each in judged if each.data != BENCHMARK)
        reason += " and the benchmark's limits kept" * any(each.data == BENCHMARK for each in judged)
    return Evaluation(model, version, against, not failed, reason, confidence, tuple(rows))


def _told(row: Row) -> str:
    return f"{row.new:.4g}" if row.old is None else f"{row.old:.4g} → {row.new:.4g}"
