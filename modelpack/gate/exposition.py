"""The gate's own series for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from modelpack.errors import InputError
from modelpack.gate.checks import Check
from modelpack.gate.config import GateConfig
from modelpack.gate.rollouts import ACTIVE
from modelpack.gate.store import Store
from modelpack.gate.verdict import VERDICTS
from modelpack.gate.watch import STATUSES, Watch


class Exposition:
    """Counts webhook calls, and shows the rollouts that are under way."""

    def __init__(
        self, store: Store, config: Callable[[str], GateConfig], watch: Watch, leads: Callable[[], bool]
    ) -> None:
        """`config` gives what a rollout is judged by, `watch` what is seen of what serves; `leads` says whether it is
        this gate that measures."""
        self._leads = leads
        self._store = store
        self._watch = watch
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
        evidence_of = self._store.evidence_of_open()
        for rollout in self._store.open():
            labels = [rollout.namespace, rollout.name, rollout.model]
            if rollout.state != ACTIVE:
                continue
            weight.add_metric(labels, rollout.weight)
            for each in VERDICTS:
                verdict.add_metric([*labels, each], float(rollout.decision.verdict == each))
            found = evidence_of.get(rollout.id, {})
            for check in self._checks(rollout.id):
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
        yield from _signals(self._watch)
        watches = GaugeMetricFamily("modelpack_gate_watches", "1 for the gate of several that measures and judges.")
        watches.add_metric([], float(self._leads()))
        yield watches
        yield from (verdict, weight, requests, value, margin, *bounds.values(), ended)

    def _checks(self, rollout_id: str) -> Sequence[Check]:
        try:
            return self._config(rollout_id).checks
        except InputError:  # of another version of modelpack
            return ()


def _signals(watch: Watch) -> Iterator[Metric]:
    """What serves, as of the watch's last round. Alerts came from Prometheus: it need not hear of them again."""
    status = _gauge("signal_status", "1 for a signal's status.", "signal", "kind", "status")
    numbers = {
        key: _gauge(f"signal_{key}", text, "signal", "kind")
        for key, text in (
            ("value", "What a signal measures."),
            ("limit", "What it may be."),
            ("n", "How many predictions, labels or requests it rests on."),
        )
    }
    for place, found in watch.latest.items():
        for each in found:
            if each["kind"] == "alert":
                continue
            labels = [*place, each["name"], each["kind"]]
            for one in STATUSES:
                status.add_metric([*labels, one], float(each["status"] == one))
            for key, family in numbers.items():
                if each[key] is not None:
                    family.add_metric(labels, each[key])
    yield from (status, *numbers.values())


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"modelpack_gate_{name}", text, labels=["namespace", "name", "model", *labels])
