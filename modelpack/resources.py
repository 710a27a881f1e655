"""What a pod asks of its node: Kubernetes' resources, of those kinds that are known here, and where it may go.

Sources: Kubernetes' resource.Quantity, "Resource Management for Pods and Containers" (extended resources are whole
numbers, which cannot be overcommitted), "Taints and Tolerations".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from modelpack.fields import Fields, nearest

KNOWN = ("cpu", "memory", "ephemeral-storage")
_DEVICE = re.compile(r"([a-z0-9-]{1,63}\.){1,8}[a-z]{2,63}/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)(m|k|[KMGTP]i|[MGTP])?")
_UNITS = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000)} | {
    f"{letter}{i}": Decimal(base) ** (place + 1)
    for i, base in (("", 1000), ("i", 1024))
    for place, letter in enumerate("KMGTP")
    if (letter, i) != ("K", "")
}
_LABEL = re.compile(r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Resources:
    """`requests` and `limits` are quantities by resource, `selector` labels of the node, `tolerations` as Kubernetes
    has them. All of them empty: whatever the cluster gives."""

    requests: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    limits: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    selector: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    tolerations: tuple[Mapping[str, str], ...] = ()

    def of_container(self) -> dict[str, Any]:
        """Kubernetes' ResourceRequirements."""
        parts = {"requests": dict(self.requests), "limits": dict(self.limits)}
        return {key: value for key, value in parts.items() if value}

    def of_pod(self) -> dict[str, Any]:
        """The part of a pod's spec, or of Tekton's podTemplate."""
        parts = {"nodeSelector": dict(self.selector), "tolerations": [dict(each) for each in self.tolerations]}
        return {key: value for key, value in parts.items() if value}

    def __bool__(self) -> bool:
        return bool(self.of_container() or self.of_pod())


NONE = Resources()


def parse(fields: Fields) -> Resources:
    """The keys resources, nodeSelector and tolerations of a mapping. Raises InputError with file and line."""
    resources = fields.mapping("resources")
    requests, limits = resources.mapping("requests"), resources.mapping("limits")
    found = Resources(
        _quantities(requests),
        _quantities(limits),
        _selector(fields.mapping("nodeSelector")),
        tuple(_toleration(each) for each in fields.mappings("tolerations")),
    )
    for key, asked in found.requests.items():
        most = found.limits.get(key)
        if _is_device(key) and most != asked:
            raise requests.error(key, "of a device has to be its limit too", "name it under limits alone")
        if most is not None and amount(asked) > amount(most):
            raise requests.error(key, f"{asked} is more than its limit, {most}")
    resources.done()
    return found


def amount(quantity: str) -> Decimal:
    """A quantity's number: CPUs, bytes or devices."""
    number, unit = _QUANTITY.fullmatch(quantity).groups()  # type: ignore[union-attr]
    return Decimal(number) * _UNITS[unit or ""]


def _is_device(key: str) -> bool:
    return key not in KNOWN


def _quantities(fields: Fields) -> Mapping[str, str]:
    found = {}
    for key in fields.keys():  # noqa: SIM118 - no dict
        if key not in KNOWN and (not _DEVICE.fullmatch(key) or key.partition("/")[0].endswith("kubernetes.io")):
            near = nearest(key, (*KNOWN, "nvidia.com/gpu"))
            known = f"known: {', '.join(KNOWN)}, and devices like nvidia.com/gpu"
            raise fields.error(key, "is not a known resource", f"did you mean {near!r}?" if near else known)
        value = fields.text(key)
        match = _QUANTITY.fullmatch(value)
        if not match or not amount(value):
            raise fields.error(key, f"{value[:50]!r} is not a quantity", "write it like 2, 500m or 8Gi")
        if _is_device(key) and (match[2] or "." in value):
            raise fields.error(key, f"{value} is not a whole number of devices")
        if key != "cpu" and match[2] == "m":
            raise fields.error(key, f"{value} is thousandths of a byte", f"write it like {match[1]}Mi")
        if key == "cpu" and amount(value) > 10_000:
            raise fields.error(key, f"{value} are more CPUs than any node has", "write it like 2 or 500m")
        found[key] = value
    return MappingProxyType(found)


def _selector(fields: Fields) -> Mapping[str, str]:
    found = {}
    for key in fields.keys():  # noqa: SIM118 - no dict
        value = fields.text(key)
        if not _LABEL.fullmatch(key) or not _VALUE.fullmatch(value):
            raise fields.error(key, f"{value[:70]!r} is not a node's label")
        found[key] = value
    return MappingProxyType(found)


def _toleration(fields: Fields) -> Mapping[str, str]:
    told = {
        "key": fields.text("key", ""),
        "operator": fields.choice("operator", ["Equal", "Exists"], "Equal" if "value" in fields else "Exists"),
        "value": fields.text("value", ""),
        "effect": fields.choice("effect", ["NoSchedule", "PreferNoSchedule", "NoExecute"], ""),
    }
    fields.done()
    if told["key"] and not _LABEL.fullmatch(told["key"]):
        raise fields.error("key", f"{told['key'][:70]!r} is not a taint's key")
    if not _VALUE.fullmatch(told["value"]):
        raise fields.error("value", f"{told['value'][:70]!r} is not a taint's value")
    if told["operator"] == "Exists" and told["value"]:
        raise fields.error("value", "goes with operator: Equal alone")
    if told["operator"] == "Equal" and not told["key"]:
        raise fields.error("key", "is missing: operator: Equal needs one")
    return MappingProxyType({key: value for key, value in told.items() if value})
