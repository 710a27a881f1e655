"""The surroundings in a cluster: the Canary and its Deployments, a ConfigMap a model, and a Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelpack.errors import ModelpackError, NotFoundError, RemoteError
from modelpack.gate.config import FILE, FILES
from modelpack.gate.prometheus import Prometheus
from modelpack.gate.samples import MetricSource
from modelpack.gate.selectors import Selector
from modelpack.gate.target import Endpoint, Target
from modelpack.rollout.cluster import Cluster, Observed


class InCluster:
    """Reads one cluster; `prometheus` is the address of what scrapes its proxies, `recent` as `Surroundings` has it."""

    def __init__(self, cluster: Cluster, prometheus: str, recent: float = 0.0) -> None:
        self.recent = recent
        self._cluster = cluster
        self._prometheus = prometheus
        self._reached = False

    def resolve(self, namespace: str, name: str) -> Target:
        seen = self._cluster.observe(namespace, name)
        for role, image in (("target", seen.canary_image), ("primary", seen.primary_image)):
            if not image:
                raise RemoteError(f"Canary {namespace}/{name}", f"its {role} does not exist")  # yet, or for a moment

        def endpoint(role: str, image: str) -> Endpoint:
            return Endpoint(f"http://{seen.service}-{role}.{namespace}:{seen.port}", image)

        return Target(
            namespace=namespace,
            name=name,
            phase=seen.phase,
            weight=seen.weight,
            last_applied=seen.last_applied,
            canary=endpoint("canary", seen.canary_image),
            primary=endpoint("primary", seen.primary_image),
            metrics=self._prometheus,
            interval=seen.interval,
            speed=1.0,
            rollback=seen.rollback,
            failed_at=_failed_at(seen),
        )

    def config(self, namespace: str, model: str) -> Mapping[str, bytes]:
        """The ConfigMap `gate-MODEL` beside the Canary."""
        name = f"gate-{model}"
        files = self._cluster.config_map(namespace, name)
        if FILE not in files:
            raise NotFoundError(f"ConfigMap {namespace}/{name}", f"has no key {FILE}")
        return {each: files[each] for each in FILES if each in files}

    def source(self, target: Target, selectors: Sequence[Selector]) -> MetricSource:
        return Prometheus(target.metrics, selectors)

    def why_unready(self) -> str:
        """Ready once the API server has answered: a gate that cannot reach it is not to replace one that can.

        One that is away later makes no gate unready: without it the gate still says why it holds, and shows its page.
        """
        if not self._reached:
            try:
                self._cluster.version()
            except ModelpackError as error:
                return str(error)
            self._reached = True
        return ""


def _failed_at(seen: Observed) -> float:
    """When the image that the target names failed, 0.0 if it did not or if that is not sure.

    Flagger names what failed by a hash of its own alone. A template that was written after the failure, or so shortly
    before that Flagger may have decided on the one before, is another; equal hashes are a revert to what was promoted.
    """
    if seen.last_applied == seen.last_promoted:
        return 0.0
    return seen.failed if 0.0 < seen.template_written < seen.failed - seen.interval else 0.0
