"""What a test knows of the cluster it runs on: ours, or a user's own by the same variables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import layout, supervisor
from tests.cluster.layout import State
from tests.integration.servers.gotools import go_tool

_COMMAND_SECONDS = 60
_VARIABLES = {
    "kubeconfig": "KUBECONFIG",
    "registry": "MODELPACK_TEST_REGISTRY",
    "git": "MODELPACK_TEST_GIT",
    "ingress": "MODELPACK_TEST_INGRESS",
    "prometheus": "MODELPACK_TEST_PROMETHEUS",
    "gate": "MODELPACK_TEST_GATE",
}
# what runs as a pod and is killed as one: name -> namespace and label
_PODS = {
    "coredns": ("kube-system", "k8s-app=kube-dns"),
    "envoy": ("projectcontour", "app=envoy"),
    "flagger": ("flagger-system", "app=flagger"),
    "gate": ("modelpack", "app=modelpack-gate"),
    "settle": ("modelpack", "app=modelpack-settle"),
    "prometheus": ("modelpack", "app=prometheus"),
}


@dataclass(frozen=True)
class Environment:
    """`registry` is host:port (plain HTTP); the others but `kubeconfig` are URLs without a slash at the end.

    Below `git`, every NAME.git exists. `state` is None for a user's own cluster.
    """

    kubeconfig: Path
    registry: str
    git: str
    ingress: str
    prometheus: str
    gate: str
    state: State | None = None

    @classmethod
    def given(cls, variables: Mapping[str, str]) -> Environment | None:
        """The user's own cluster, if all of its variables are set."""
        values = {field: variables.get(variable, "") for field, variable in _VARIABLES.items()}
        if not all(values.values()):
            return None
        return cls(
            Path(values["kubeconfig"]),
            values["registry"],
            values["git"],
            values["ingress"],
            values["prometheus"],
            values["gate"],
        )

    @classmethod
    def ours(cls, state: State) -> Environment:
        """The cluster that `up` started. The two Services' addresses are "" while they are not there."""
        found = cls(state.kubeconfig, layout.REGISTRY, layout.GIT, layout.INGRESS, "", "", state)
        prometheus, gate = found._service("prometheus"), found._service("modelpack-gate")
        return cls(state.kubeconfig, layout.REGISTRY, layout.GIT, layout.INGRESS, prometheus, gate, state)

    def variables(self) -> dict[str, str]:
        return {variable: str(getattr(self, field)) for field, variable in _VARIABLES.items()}

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """What kubectl prints. Raises CalledProcessError, caused by what kubectl said."""
        command = [str(go_tool("kubernetes", "kubectl")), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_SECONDS)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr) from RuntimeError(
                done.stderr
            )
        return done.stdout

    def get(self, kind: str, namespace: str = "", name: str = "") -> dict[str, Any]:
        """An object, or the list of all of a kind."""
        words = [kind, *([name] if name else []), *([f"--namespace={namespace}"] if namespace else [])]
        answer: dict[str, Any] = json.loads(self.kubectl("get", *words, "--output=json"))
        return answer

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Server-side apply."""
        content = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(content))

    def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        self.kubectl("scale", f"--namespace={namespace}", f"deployment/{deployment}", f"--replicas={replicas}")

    def kill(self, part: str) -> None:
        """SIGKILL for a component (it comes back after a second), or for the pods of the gate, Flagger, ….

        Raises LookupError for a component of a cluster that is not ours."""
        if part in _PODS:
            namespace, label = _PODS[part]
            self.kubectl(
                "delete", "pod", f"--namespace={namespace}", f"--selector={label}", "--force", "--grace-period=0"
            )
        elif self.state:
            supervisor.kill(self.state, part)
        else:
            raise LookupError(f"{part} of somebody's own cluster can't be killed from here")

    def _service(self, name: str) -> str:
        try:
            found = self.get("service", "modelpack", name)["spec"]
        except subprocess.CalledProcessError:
            return ""
        return f"http://{found['clusterIP']}:{found['ports'][0]['port']}"
