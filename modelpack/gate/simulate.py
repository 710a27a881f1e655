"""What a gate.yaml would do, before it does: rollouts of made-up traffic through the very checks that judge real ones.

A rollout's counters are drawn in `LOOKS` slices of the horizon and at each change of weight. A verdict is taken at a
slice's end and acted upon at Flagger's next tick. The first rejection and the first acceptance are found by bisection:
what is rejected stays so, and an acceptance that would be lost again counts from the last time that it was gained.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from modelpack.errors import InputError
from modelpack.fields import nearest
from modelpack.gate import verdict
from modelpack.gate.checks import Evidence, Golden, Slice, Window
from modelpack.gate.config import GateConfig
from modelpack.gate.drawing import Baseline, Source, add, source_of

LOOKS = 50  # slices of a horizon; they get longer, as those that the gate counts in
PROMOTED, REJECTED, HELD = "promoted", "rejected", "held"
_MOST = 1e9  # requests of a rollout
_Z = 1.959964  # both sides of a 95 % interval


@dataclass(frozen=True)
class Traffic:
    """`rate` is requests a second, of both versions together; `weights` are the canary's percent, one for each
    `interval` seconds, the last one until the end."""

    rate: float
    weights: tuple[float, ...]
    interval: float

    @property
    def climb(self) -> float:
        """Seconds until the first question whether to promote."""
        return len(self.weights) * self.interval

    def canary(self, until: float) -> float:
        """Requests that the canary gets in so many seconds, on average."""
        steps = [*self.weights[:-1], math.inf]
        found, begun = 0.0, 0.0
        for number, weight in enumerate(self.weights):
            end = until if math.isinf(steps[number]) else min(until, begun + self.interval)
            found += self.rate * weight / 100 * max(0.0, end - begun)
            begun += self.interval
        return found

    def tick(self, seconds: float) -> float:
        """When Flagger asks next."""
        return math.ceil(seconds / self.interval - 1e-9) * self.interval


@dataclass(frozen=True)
class Scenario:
    """What became of a canary that is worse by so much, in so many rollouts.

    `seconds` until the verdict and `requests` of both versions until then are (median, 90th percentile). `canary` are
    the canary's on average, `bad` those among them that would have been good by the primary; None where no share was
    made worse. `by` counts rejections by check, `waiting` those that had not decided when a rollout was held.
    """

    worse: Mapping[str, float]
    rollouts: int
    promoted: int
    rejected: int
    held: int
    by: Mapping[str, int]
    waiting: Mapping[str, int]
    seconds: tuple[float, float]
    requests: tuple[float, float]
    canary: float
    bad: float | None

    def chance(self, kind: str) -> tuple[float, float, float]:
        """(estimate, low, high) of promoted, rejected or held: Wilson's interval at 95 % (1927)."""
        number, seen = self.rollouts, getattr(self, kind)
        share, z2 = seen / number, _Z**2 / number
        half = _Z * math.sqrt(share * (1 - share) / number + z2 / (4 * number))
        low, high = ((share + z2 / 2 + sign * half) / (1 + z2) for sign in (-1, 1))
        return share, low if seen else 0.0, high if seen < number else 1.0


@dataclass(frozen=True)
class Plan:
    """What is simulated: `sources` by check, and `left_out` with why."""

    config: GateConfig
    traffic: Traffic
    sources: Mapping[str, Source]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def pieces(self) -> tuple[Slice, ...]:
        """Empty slices; (start, seconds) of each are in `spans`."""
        return tuple(each for each, _ in self._cut)

    @cached_property
    def spans(self) -> tuple[float, ...]:
        """Seconds of each piece."""
        return tuple(length for _, length in self._cut)

    @cached_property
    def _cut(self) -> tuple[tuple[Slice, float], ...]:
        horizon, traffic = self.config.horizon, self.traffic
        ends = [end_of(look) * horizon for look in range(LOOKS)]
        steps = [number * traffic.interval for number in range(1, len(traffic.weights))]
        times = sorted({*ends, *(each for each in steps if each < horizon)})
        found, begun = [], 0.0
        for time in times:
            step = min(int(begun / traffic.interval + 1e-9), len(traffic.weights) - 1)
            look = next(number for number, end in enumerate(ends) if time <= end)
            found.append((Slice(step, traffic.weights[step], end_of(look), {}, {}), time - begun))
            begun = time
        return tuple(found)


def end_of(look: int) -> float:
    """How much of the horizon has passed at a look; they come at growing distances."""
    return ((look + 1) / LOOKS) ** 2


def plan(config: GateConfig, traffic: Traffic, baselines: Mapping[str, Baseline]) -> Plan:
    """Raises InputError for a baseline of no check, or one that makes no sense.

    Checks that count the same have one baseline: what was said of one of them, else the lowest that is assumed.
    """
    sources, left_out = {}, {}
    for check in config.checks:
        source = source_of(check, baselines.get(check.name))
        if source:
            sources[check.name] = source
        elif isinstance(check, Golden):
            left_out[check.name] = "is asked before any traffic: taken as passed"
        else:
            left_out[check.name] = f"is of type {check.type}, which rests on no counters: taken as passed"
    known(baselines, sources, left_out)
    for group in alike(sources):
        said = {baselines[name] for name in group if name in baselines}
        if len(said) > 1:
            raise InputError(" and ".join(group), "count the same requests", "give one of them a baseline, not several")
        assumed = [each for each in (sources[name].baseline for name in group) if each]
        if said or len(assumed) > 1:
            one = min(said or assumed, key=lambda each: each.value)
            changed = {each.name: source_of(each, one) for each in config.checks if each.name in group}
            sources |= {name: source for name, source in changed.items() if source}
    if not sources:
        raise InputError(config.name, "has no check of counters", "there is nothing to simulate")
    if traffic.rate * config.horizon > _MOST:
        raise InputError("the traffic", f"is more than {_MOST:g} requests over the horizon")
    return Plan(config, traffic, sources, left_out)


def known(names: Mapping[str, object], sources: Mapping[str, Source], left_out: Mapping[str, str]) -> None:
    """Raise InputError for a name that is no check which is simulated."""
    for name in names:
        if name in left_out:
            raise InputError(name, left_out[name], f"those that are simulated are {', '.join(sources) or 'none'}")
        if name not in sources:
            near = nearest(name, sources)
            remedy = f"did you mean {near!r}?" if near else f"there are {', '.join(sources)}"
            raise InputError(name, "is no check of this gate.yaml", remedy)


def alike(sources: Mapping[str, Source]) -> Iterable[Sequence[str]]:
    """The names of checks that count the same requests, together."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name, source in sources.items():
        found.setdefault(source.counts, []).append(name)
    return found.values()


def usual(found: Plan) -> tuple[Mapping[str, float], ...]:
    """A regression of each check that one would want to catch: twice its margin, where it has one."""
    return tuple({name: source.usual} for name, source in found.sources.items())


def run(
    found: Plan, worse: Mapping[str, float], rollouts: int, seed: int, told: Callable[[], None] = lambda: None
) -> Scenario:
    """So many rollouts of a canary that is worse by so much; `told` is called after each. Raises InputError."""
    known(worse, found.sources, found.left_out)
    for name, value in worse.items():
        if not 0 < value <= found.sources[name].most + 1e-9:
            most = found.sources[name].most
            allowed = "above 0" if math.isinf(most) else f"above 0 and at most {most:g}"
            raise InputError(name, f"cannot be worse by {value:g}", f"it is {allowed}")
    for group in alike(found.sources):
        if len([name for name in group if name in worse]) > 1:
            raise InputError(" and ".join(group), "count the same requests", "say of one of them how much worse it is")
    everywhere = {
        name: worse[each] for group in alike(found.sources) for each in group if each in worse for name in group
    }
    outcomes = []
    for number in range(rollouts):
        # each rollout has numbers of its own, so that more rollouts, or fewer, change none of them
        outcomes.append(_rollout(found, everywhere, np.random.default_rng([seed, number])))
        told()
    kinds = Counter(kind for kind, _, _ in outcomes)
    seconds = np.array([each for _, each, _ in outcomes])
    costs = sum(value for name, value in worse.items() if found.sources[name].costs)
    canary = float(np.mean([found.traffic.canary(each) for each in seconds.tolist()]))
    middle, late = (float(each) for each in np.quantile(seconds, [0.5, 0.9], method="higher"))
    rate = found.traffic.rate
    return Scenario(
        worse=worse,
        rollouts=rollouts,
        promoted=kinds[PROMOTED],
        rejected=kinds[REJECTED],
        held=kinds[HELD],
        by=Counter(name for kind, _, names in outcomes for name in names if kind == REJECTED),
        waiting=Counter(name for kind, _, names in outcomes for name in names if kind == HELD),
        seconds=(middle, late),
        requests=(rate * middle, rate * late),
        canary=canary,
        bad=costs * canary if costs else None,
    )


def _rollout(found: Plan, worse: Mapping[str, float], rng: np.random.Generator) -> tuple[str, float, Sequence[str]]:
    """(what became of it, after how many seconds, the checks that rejected it or did not accept it)."""
    traffic, horizon, last = found.traffic, found.config.horizon, LOOKS - 1
    drawn: dict[object, dict[str, tuple[Slice, ...]]] = {}
    judges = {}
    for name, source in found.sources.items():
        same = (source.counts, source.segments)
        drawn[same] = drawn.get(same) or counters(found, name, worse.get(name, 0.0), rng)
        judges[name] = _judge(found, name, drawn[same])
    over = {name: judge(last).verdict for name, judge in judges.items()}
    rejected = {
        name: _first(lambda look, judge=judges[name]: judge(look).verdict == verdict.REJECT, 0, last)  # type: ignore[misc]
        for name in judges
        if over[name] == verdict.REJECT
    }
    stopped = min(rejected.values(), default=LOOKS)
    asked = [look for look in range(stopped) if traffic.tick(end_of(look) * horizon) >= min(traffic.climb, horizon)]
    if asked and all(judge(asked[-1]).verdict == verdict.ACCEPT for judge in judges.values()):
        accepted = max(
            _first(lambda look, judge=judge: judge(look).verdict == verdict.ACCEPT, asked[0], asked[-1])  # type: ignore[misc]
            for judge in judges.values()
        )
        at = max(traffic.tick(end_of(accepted) * horizon), traffic.climb)
        if stopped == LOOKS or at < traffic.tick(end_of(stopped) * horizon):
            return PROMOTED, at, ()
    if rejected:
        at = traffic.tick(end_of(stopped) * horizon)
        return REJECTED, at, [name for name, look in rejected.items() if look == stopped]
    return HELD, verdict.GRACE * horizon, [name for name in judges if over[name] != verdict.ACCEPT]


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first look from which on it holds; it is known to hold at `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _judge(found: Plan, name: str, slices: Mapping[str, Sequence[Slice]]) -> Callable[[int], Evidence]:
    """What the check says of one rollout's counters after each look."""
    source = found.sources[name]
    original = next(each for each in found.config.checks if each.name == name)
    alpha = found.config.alpha_of(original)
    known: dict[int, Evidence] = {}

    def judge(look: int) -> Evidence:
        if look not in known:
            end = end_of(look)
            seen = {segment: tuple(each for each in rows if each.end <= end) for segment, rows in slices.items()}
            window = Window(slices=seen, elapsed=end, alpha=alpha, patience=math.inf)
            known[look] = source.check.evaluate(window)
        return known[look]

    return judge


def counters(found: Plan, name: str, worse: float, rng: np.random.Generator) -> dict[str, tuple[Slice, ...]]:
    """One rollout's counters for a check by segment, each with an equal part of the traffic, and all together as ""."""
    source = found.sources[name]
    segments = source.segments
    names = segments.values or tuple(f"{number}" for number in range(1, segments.most + 1)) if segments else ("",)
    weights = np.array([each.weight for each in found.pieces]) / 100
    mean = found.traffic.rate * np.array(found.spans) / len(names)
    rows: dict[str, tuple[Slice, ...]] = {}
    for segment in names:
        total = rng.poisson(mean)
        canary = rng.binomial(total, weights)
        cells = source.draw(rng, canary, worse), source.draw(rng, total - canary, 0.0)
        rows[segment] = tuple(
            Slice(each.step, each.weight, each.end, one, other)
            for each, one, other in zip(found.pieces, *cells, strict=True)
        )
    if segments:
        several = tuple(zip(*rows.values(), strict=True))
        rows[""] = tuple(
            replace(
                parts[0], canary=add([each.canary for each in parts]), primary=add([each.primary for each in parts])
            )
            for parts in several
        )
    return rows
