"""The gate's own series for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from modelpack.gate.store import Store
from modelpack.gate.verdict import VERDICTS

_CANARY = ["namespace", "name", "model"]


class Exposition:
    """Counts webhook calls, and shows the rollouts that are under way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "modelpack_gate_webhooks", "Webhook calls by answer.", ["hook", "answer"], registry=self._registry
        )
        self._registry.register(self)

    def count(self, hook: str, status: int) -> None:
        self._calls.labels(hook, str(status)).inc()

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        verdict = GaugeMetricFamily("modelpack_gate_verdict", "1 for the verdict so far.", labels=[*_CANARY, "verdict"])
        weight = GaugeMetricFamily("modelpack_gate_weight", "The canary's percent of traffic.", labels=_CANARY)
        estimates = {
            key: GaugeMetricFamily(
                f"modelpack_gate_check_{key}", f"{text}, canary minus primary.", labels=[*_CANARY, "check"]
            )
            for key, text in (("estimate", "Estimate"), ("low", "Lower bound"), ("high", "Upper bound"))
        }
        for rollout in self._store.open():
            labels = [rollout.namespace, rollout.name, rollout.model]
            if rollout.state != "active":
                continue
            weight.add_metric(labels, rollout.weight)
            for each in VERDICTS:
                verdict.add_metric([*labels, each], float(rollout.decision.verdict == each))
            for name, evidence in self._store.evidence(rollout.id).items():
                for key, family in estimates.items():
                    value = getattr(evidence, key)
                    if value is not None:
                        family.add_metric([*labels, name], value)
        yield from (verdict, weight, *estimates.values())
