"""Counts a rollout's requests between two looks at the counters, as long as the weight stays the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelpack.errors import InputError, ModelpackError
from modelpack.gate.checks import Comparison
from modelpack.gate.samples import BUCKET, Series, bucket_increases, slower, total_increase
from modelpack.gate.scraper import Scraper
from modelpack.gate.selectors import Selector
from modelpack.gate.sequential import Stratum
from modelpack.gate.target import Target

ROLES = ("canary", "primary")


class Meter:
    """Reads the counters of one rollout's comparisons. `unreachable` and `wrong` say what could not be read and why."""

    def __init__(self, target: Target, checks: Sequence[Comparison], now: float) -> None:
        values = {"namespace": target.namespace, "name": target.name}
        self._total = {check.name: check.total.fill(values) for check in checks}
        self._bad = {check.name: check.bad.fill(values) for check in checks if check.bad}
        self._checks = tuple(checks)
        kept = [*self._total.values(), *self._bad.values()]
        self._scraper = Scraper(target.metrics, [each.fill({"role": role}) for each in kept for role in ROLES])
        self.address = target.metrics
        self._since: float | None = None
        self._at = target
        self._heard = {check.name: now for check in checks}
        self.unreachable = ""
        self.wrong: dict[str, str] = {}

    def measure(self, target: Target, reread: Callable[[], Target], now: float) -> dict[str, Stratum]:
        """Each check's requests since the last call; none if the weight or a version changed since, or in between."""
        steady = _steady(self._at, target)
        since, self._since, self._at = self._since, None, target
        try:
            self._scraper.scrape(now)
            after = reread()
        except ModelpackError as error:
            self.unreachable = str(error)
            return {}
        self.unreachable = ""
        if not _steady(target, after):
            return {}
        self._since = now
        if since is None or not steady:
            return {}
        found = {}
        for check in self._checks:
            try:
                found[check.name] = self._count(check, target.weight, since, now)
                self.wrong.pop(check.name, None)
            except InputError as error:
                self.wrong[check.name] = str(error)
                continue
            if found[check.name].canary_total > 0:
                self._heard[check.name] = now
        return found

    def silent(self, check: Comparison, now: float) -> float:
        """Seconds since a request to the canary was last counted, or since the counting began."""
        return max(0.0, now - self._heard[check.name])

    def _count(self, check: Comparison, weight: float, start: float, end: float) -> Stratum:
        counts = {}
        for role in ROLES:
            total, bad = self._count_role(check, role, start, end)
            counts[f"{role}_total"], counts[f"{role}_bad"] = total, min(bad, total)
        return Stratum(step=0, weight=weight, **counts)

    def _count_role(self, check: Comparison, role: str, start: float, end: float) -> tuple[float, float]:
        total = self._total[check.name]
        if check.threshold is None:
            bad = self._samples(self._bad[check.name], role, start, end)
            return total_increase(self._samples(total, role, start, end)), total_increase(bad)
        buckets = bucket_increases(self._samples(Selector(total.metric + BUCKET, total.labels), role, start, end))
        found = slower(buckets, check.threshold) if buckets else (0.0, 0.0)
        if found is None:
            near = sorted(buckets, key=lambda bound: abs(bound - (check.threshold or 0)))[:4]
            bounds = ", ".join(f"{bound:g}" for bound in sorted(near))
            raise InputError(
                check.name, f"{check.threshold:g} is not a bound of {total.metric}", f"the nearest are {bounds}"
            )
        return found

    def _samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        return self._scraper.samples(selector, role, start, end)


def _steady(before: Target, after: Target) -> bool:
    return (before.weight, before.canary, before.primary) == (after.weight, after.canary, after.primary)
