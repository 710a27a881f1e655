"""The gate's own series for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from modelpack.gate.config import GateConfig
from modelpack.gate.rollouts import ACTIVE
from modelpack.gate.store import Store
from modelpack.gate.verdict import VERDICTS


class Exposition:
    """Counts webhook calls, and shows the rollouts that are under way."""

    def __init__(self, store: Store, config: Callable[[str], GateConfig]) -> None:
        """`config` gives what a rollout is judged by."""
        self._store = store
        self._config = config
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
        verdict = _gauge("verdict", "1 for the verdict so far.", "verdict")
        weight = _gauge("weight", "The canary's percent of traffic.")
        requests = _gauge("check_requests", "Requests that a check has counted, or golden examples.", "check", "role")
        value = _gauge("check_value", "What a check measures, for each version.", "check", "role")
        margin = _gauge("check_margin", "How much worse than the primary the canary may be.", "check")
        bounds = {
            key: _gauge(f"check_{key}", f"{text}, canary minus primary.", "check")
            for key, text in (("estimate", "Estimate"), ("low", "Lower bound"), ("high", "Upper bound"))
        }
        for rollout in self._store.open():
            labels = [rollout.namespace, rollout.name, rollout.model]
            if rollout.state != ACTIVE:
                continue
            weight.add_metric(labels, rollout.weight)
            for each in VERDICTS:
                verdict.add_metric([*labels, each], float(rollout.decision.verdict == each))
            found = self._store.evidence(rollout.id)
            for check in self._config(rollout.id).checks:
                if (allowed := check.description()["margin"]) is not None:
                    margin.add_metric([*labels, check.name], allowed)
                evidence = found.get(check.name)
                if evidence is None:
                    continue
                for role, n in (("canary", evidence.n), ("primary", evidence.n_primary)):
                    requests.add_metric([*labels, check.name, role], n)
                    share = getattr(evidence, role)
                    if share is not None:
                        value.add_metric([*labels, check.name, role], share)
                for key, family in bounds.items():
                    number = getattr(evidence, key)
                    if number is not None:
                        family.add_metric([*labels, check.name], number)
        ended = _gauge("rollouts", "Rollouts by what became of them.", "state")
        for (namespace, name, model, state), count in self._store.count().items():
            ended.add_metric([namespace, name, model, state], count)
        yield from (verdict, weight, requests, value, margin, *bounds.values(), ended)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"modelpack_gate_{name}", text, labels=["namespace", "name", "model", *labels])
