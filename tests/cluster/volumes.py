"""Volumes for claims that name none: nobody provisions them here."""

from __future__ import annotations

from uuid import uuid4

from tests.cluster.environment import Environment
from tests.cluster.layout import NODE_NAME


def add(environment: Environment, count: int) -> None:
    """So many more, a claim each, in folders that end with the cluster. A user's own cluster has its own."""
    if not environment.state:
        return
    folder = environment.state / "volumes"
    names = [f"test-{uuid4().hex[:8]}" for _ in range(count)]
    for name in names:
        (folder / name).mkdir(parents=True)
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    environment.apply(
        *(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": "10Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "local": {"path": str(folder / name)},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
                },
            }
            for name in names
        )
    )
