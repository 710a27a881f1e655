"""A Canary as a rehearsal can walk it, read from YAML with the file and line of whatever it cannot.

What decides the course of a rollout is either read or refused; what only concerns a cluster's routing objects
(gateways, service ports, alerts, autoscalers) is left to the cluster. Source: Flagger 1.44, `flagger.app/v1beta1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from modelpack.errors import InputError, NotFoundError
from modelpack.fields import Fields, compose
from modelpack.target import Target

API_VERSION = "flagger.app/v1beta1"
HOOK_TYPES = (
    "confirm-rollout",
    "pre-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "post-rollout",
    "rollback",
    "event",
)
MIN_INTERVAL = 10.0  # seconds; Flagger raises anything below
_MENTIONS = re.compile(rb"^kind:[ \t]*[\"']?Canary", re.MULTILINE)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s))+")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_ROUTING = "the rehearsal's proxy splits by weight or header alone"
_UNSUPPORTED: Mapping[str, Mapping[str, str]] = {
    "spec": {
        "skipAnalysis": "without an analysis there is nothing to rehearse",
        "suspend": "a suspended Canary starts nothing",
        "canaryAnalysis": "it is called analysis since v1beta1",
    },
    "service": {
        "match": _ROUTING,
        "rewrite": _ROUTING,
        "retries": _ROUTING,
        "headers": _ROUTING,
        "mirror": _ROUTING,
        "corsPolicy": _ROUTING,
        "backendTimeout": _ROUTING,
    },
    "analysis": {
        "metrics": "in a rehearsal the gate is the only metrics checker: write the check in gate.yaml",
        "mirror": "traffic is split, not mirrored",
        "mirrorWeight": "traffic is split, not mirrored",
        "sessionAffinity": _ROUTING,
    },
}


@dataclass(frozen=True)
class Webhook:
    """One of an analysis' hooks. `timeout` is in seconds."""

    name: str
    type: str
    url: str
    timeout: float
    retries: int
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Header:
    """A condition of an A/B test. As in Contour, prefix and suffix both mean `contains`."""

    name: str
    exact: str = ""
    contains: str = ""


@dataclass(frozen=True)
class Canary:
    """What a Canary says about a rollout. Weights are percent, `interval`, `deadline` and `timeout` seconds."""

    name: str
    namespace: str
    service: str
    port: int
    interval: float
    threshold: int
    deadline: float
    timeout: float
    iterations: int
    max_weight: int
    step_weight: int
    step_weights: tuple[int, ...]
    step_weight_promotion: int
    match: tuple[Header, ...]
    webhooks: tuple[Webhook, ...]

    def hooks(self, kind: str) -> tuple[Webhook, ...]:
        return tuple(hook for hook in self.webhooks if hook.type == kind)

    @property
    def steps(self) -> tuple[int, ...]:
        """The weights that the canary passes on its way up; none where iterations are counted instead."""
        weight, found = 0, list[int]()
        while not self.iterations and weight < self.max_weight:
            weight = min(100, weight + self.next_step(weight))
            found.append(weight)
        return tuple(found)

    def next_step(self, weight: int) -> int:
        """By how much Flagger raises the canary's weight next; at the last weight anything above 0 means promotion."""
        if not self.step_weights:
            return self.step_weight
        left = 100 - weight
        if left == 0:
            return 1
        if weight == 0:
            return min(left, self.step_weights[0])
        if weight in self.step_weights[:-1]:
            return min(left, self.step_weights[self.step_weights.index(weight) + 1] - weight)
        return left


def find_canary(files: Iterable[tuple[str, bytes]], target: Target) -> Canary:
    """The one Canary among YAML files (name, bytes) whose targetRef is `target`; raises NotFoundError without one."""
    for name, data in files:
        if not _MENTIONS.search(data):
            continue
        for node in compose(data, name):
            if isinstance(node, yaml.MappingNode) and _is_for(Fields(name, node), target):
                return _canary(Fields(name, node))
    raise NotFoundError(
        f"{target.kind}/{target.name}",
        "no Canary in the repository has it as its targetRef",
        f"add a {API_VERSION} Canary, or scaffold one with modelpack init",
    )


def read_canary(data: bytes, name: str) -> Canary:
    """The one Canary of a YAML file; raises InputError with file and line, NotFoundError without one."""
    nodes = [each for each in compose(data, name) if isinstance(each, yaml.MappingNode)]
    found = [each for each in nodes if Fields(name, each).text("kind", "") == "Canary"]
    if not found:
        raise NotFoundError(name, "holds no Canary")
    if len(found) > 1:
        raise InputError(name, f"holds {len(found)} Canaries", "one is expected")
    return _canary(Fields(name, found[0]))


def _is_for(fields: Fields, target: Target) -> bool:
    if fields.text("kind", "") != "Canary" or not fields.text("apiVersion", "").startswith("flagger.app/"):
        return False
    namespace = fields.mapping("metadata").text("namespace", "")
    ref = fields.mapping("spec").mapping("targetRef")
    same_place = not namespace or not target.namespace or namespace == target.namespace
    return same_place and (ref.text("kind", ""), ref.text("name", "")) == (target.kind, target.name)


def _canary(fields: Fields) -> Canary:
    fields.choice("apiVersion", [API_VERSION])
    metadata, spec = fields.mapping("metadata"), fields.mapping("spec")
    _refuse(spec, "spec")
    if spec.text("provider", "") == "kubernetes":
        raise spec.error(
            "provider", "'kubernetes' never splits live traffic", "name the provider that routes, like contour"
        )
    spec.skip(
        "targetRef", "autoscalerRef", "ingressRef", "routeRef", "upstreamRef", "metricsServer", "revertOnDeletion"
    )
    service, analysis = spec.mapping("service"), spec.mapping("analysis")
    _refuse(service, "service")
    _refuse(analysis, "analysis")
    steps = _steps(analysis)
    single = [analysis.integer(key, 0, low=0) for key in ("stepWeight", "iterations")]
    match = tuple(header for each in analysis.mappings("match") for header in _headers(each))
    if match and not single[1]:
        raise analysis.error("match", "is for A/B tests, which count iterations", "set iterations, or remove match")
    canary = Canary(
        name=metadata.text("name"),
        namespace=metadata.text("namespace", "default"),
        service=service.text("name", spec.mapping("targetRef").text("name")),
        port=service.integer("port", low=1, high=65535),
        timeout=_seconds(service, "timeout", 15.0),
        interval=max(MIN_INTERVAL, _seconds(analysis, "interval", 60.0)),
        threshold=analysis.integer("threshold", 1, low=0) or 1,
        deadline=spec.number("progressDeadlineSeconds", 600.0, low=1),
        iterations=analysis.integer("iterations", 0, low=0),
        max_weight=min(100, steps[-1]) if steps else analysis.integer("maxWeight", 100, low=0, high=100) or 100,
        step_weight=analysis.integer("stepWeight", 0, low=0, high=100),
        step_weights=steps,
        step_weight_promotion=analysis.integer("stepWeightPromotion", 0, low=0, high=100),
        match=match,
        webhooks=tuple(_webhook(each) for each in analysis.mappings("webhooks")),
    )
    analysis.skip("maxWeight", "alerts", "primaryReadyThreshold", "canaryReadyThreshold")
    analysis.done()
    service.skip(
        "portName", "targetPort", "portDiscovery", "appProtocol", "trafficDistribution", "headless", "gateways",
        "gatewayRefs", "hosts", "delegation", "trafficPolicy", "meshName", "backends", "apex", "primary", "canary",
        "unmanagedMetadata",
    )  # fmt: skip
    service.done()
    spec.done()
    if sum(map(bool, [steps, *single])) != 1:
        raise spec.error("analysis", "needs exactly one of stepWeight, stepWeights and iterations")
    fields.skip("kind", "status")
    fields.done()
    return canary


def _refuse(fields: Fields, part: str) -> None:
    for key, remedy in _UNSUPPORTED[part].items():
        if fields.value(key, None):
            raise fields.error(key, "is not supported by a rehearsal", remedy)


def _steps(analysis: Fields) -> tuple[int, ...]:
    steps = analysis.value("stepWeights", None) or []
    if not isinstance(steps, list) or not all(type(step) is int and 0 < step <= 100 for step in steps):
        raise analysis.error("stepWeights", "is not a list of percents between 1 and 100")
    if sorted(set(steps)) != steps:
        raise analysis.error("stepWeights", "does not rise from step to step")
    return tuple(steps)


def _headers(fields: Fields) -> Iterable[Header]:
    headers = fields.mapping("headers")
    for name in tuple(headers.keys()):
        rule = headers.mapping(name)
        contains = rule.text("prefix", "") or rule.text("suffix", "")
        exact = rule.text("exact", "")
        rule.done()
        if bool(contains) == bool(exact):
            raise headers.error(name, "needs one of exact, prefix and suffix")
        yield Header(name, exact, contains)
    fields.done()


def _webhook(fields: Fields) -> Webhook:
    metadata = fields.value("metadata", {})
    if not isinstance(metadata, dict):
        raise fields.error("metadata", "is not a mapping")
    hook = Webhook(
        name=fields.text("name"),
        type=fields.choice("type", HOOK_TYPES, "rollout"),
        url=fields.text("url"),
        timeout=_seconds(fields, "timeout", 10.0),
        retries=fields.integer("retries", 0, low=0),
        metadata={str(key): str(value) for key, value in metadata.items()},
    )
    if not hook.url.startswith(("http://", "https://")):
        raise fields.error("url", f"{hook.url!r} is not an http address")
    fields.skip("muteAlert", "disableTLS")
    fields.done()
    return hook


def go_duration(text: str) -> float | None:
    """The seconds of a Go duration like 90s, 1m30s or 500ms; None if it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", text))


def _seconds(fields: Fields, key: str, default: float) -> float:
    text = fields.text(key, "")
    if not text:
        return default
    seconds = go_duration(text)
    if seconds is None:
        raise fields.error(key, f"{text!r} is not a duration", "write it like 30s, 1m or 1m30s")
    return seconds
