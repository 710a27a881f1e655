"""Pods that are started one after the other in a namespace of their own, and timed; the images that a node keeps."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from benchmarks.measure import FailedError

_PULLING_FAILED = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerError", "RunContainerError"}
_NAMESPACE, _POD = "modelpack-start-", "start-"
_OURS = f'labels."io.kubernetes.pod.namespace"~=^{_NAMESPACE},labels."io.kubernetes.pod.name"~=^{_POD}'
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class Start:
    """Seconds from scheduled to ready: as seen from here, and by the conditions' times, which are whole seconds.

    `init` is how long the init container ran, None where there is none.
    """

    seconds: float
    stated: float
    init: float | None


class Pods:
    """A namespace, and the pods in it. No call takes longer than `within` seconds, or it raises FailedError."""

    def __init__(self, api: client.CoreV1Api, namespace: str, within: float) -> None:
        self._api = api
        self._namespace = namespace
        self._within = within

    @contextmanager
    def running(self, spec: Mapping[str, Any], prefix: str = _POD) -> Iterator[tuple[Start, str]]:
        """A pod for the length of the block: how it started, and its address. It is gone afterwards."""
        name = f"{prefix}{uuid.uuid4().hex[:8]}"
        self._api.create_namespaced_pod(self._namespace, {"metadata": {"name": name}, "spec": {**_SPEC, **spec}})
        try:
            yield self._started(name)
        finally:
            self._gone(name)

    def _started(self, name: str) -> tuple[Start, str]:
        scheduled, why = 0.0, "nothing was heard of it"
        events = watch.Watch().stream(
            self._api.list_namespaced_pod,
            self._namespace,
            field_selector=f"metadata.name={name}",
            timeout_seconds=int(self._within),
        )
        for event in events:
            pod = event["object"]
            true = {each.type: each for each in pod.status.conditions or () if each.status == "True"}
            if not scheduled and "PodScheduled" in true:
                scheduled = time.monotonic()
            if "Ready" in true:
                seconds = time.monotonic() - scheduled
                stated = _between(true["PodScheduled"].last_transition_time, true["Ready"].last_transition_time)
                return Start(seconds, stated, _init_seconds(pod)), pod.status.pod_ip
            why = _why(pod)
            if pod.status.phase == "Failed" or why in _PULLING_FAILED:
                break
        raise FailedError(f"pod {name} did not become ready: {why}")

    def _gone(self, name: str) -> None:
        """Without a grace, and until its volumes are gone too: what it leaves would slow the next one down."""
        self._api.delete_namespaced_pod(name, self._namespace, grace_period_seconds=0)

        def look() -> bool:
            try:
                self._api.read_namespaced_pod(name, self._namespace)
            except client.ApiException as error:
                return bool(error.status == 404)
            return False

        await_true(f"the end of pod {name}", look, self._within)


@contextmanager
def namespace(kubeconfig: Path, within: float) -> Iterator[Pods]:
    """A namespace that exists for the length of the block, and all that is in it."""
    config.load_kube_config(str(kubeconfig))
    api = client.CoreV1Api()
    name = f"{_NAMESPACE}{uuid.uuid4().hex[:6]}"
    api.create_namespace({"metadata": {"name": name}})

    def has_account() -> bool:
        with suppress(client.ApiException):
            return bool(api.read_namespaced_service_account("default", name))
        return False

    try:
        await_true("the namespace's service account", has_account, 60)
        yield Pods(api, name, within)
    finally:
        api.delete_namespace(name)


def node(kubeconfig: Path) -> str:
    """The versions of the first node, for people."""
    config.load_kube_config(str(kubeconfig))
    info = client.CoreV1Api().list_node(limit=1).items[0].status.node_info
    return f"Kubernetes {info.kubelet_version}, {info.container_runtime_version}, Linux {info.kernel_version}"


@dataclass(frozen=True)
class Images:
    """The images of the one node, by way of `ctr -n k8s.io` and whatever words have to stand before it."""

    ctr: Sequence[str]

    def remove(self, image: str) -> None:
        """Remove an image under all its names, with the layers that no other one has.

        What ended pods have left keeps layers alive: the kubelet clears it away once a minute, which is waited for.
        """
        await_true("the removal of what ended pods left", lambda: not self._run("containers", "list", "-q", _OURS), 180)
        digests = {row[0]: row[2] for row in map(str.split, self._run("images", "list").splitlines()[1:])}
        if image in digests:
            names = [name for name, digest in digests.items() if digest == digests[image]]
            self._run("images", "remove", "--sync", *names)

    def _run(self, *words: str) -> str:
        command = [*self.ctr, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise FailedError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def drop_caches() -> None:
    """Empty this machine's page cache, where that is allowed."""
    os.sync()
    with suppress(OSError):
        DROP_CACHES.write_text("3\n")


def await_true(what: str, look: Callable[[], bool], within: float) -> None:
    """Ask five times a second. Raises FailedError."""
    until = time.monotonic() + within
    while not look():
        if time.monotonic() > until:
            raise FailedError(f"{what}: not within {within:g} s")
        time.sleep(0.2)


_SPEC = {"restartPolicy": "Never", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}


def _between(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _init_seconds(pod: Any) -> float | None:
    for each in pod.status.init_container_statuses or ():
        ended = each.state.terminated
        return _between(ended.started_at, ended.finished_at)
    return None


def _why(pod: Any) -> str:
    """What the first container that is not well says."""
    for each in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        if each.state.waiting and each.state.waiting.reason not in ("PodInitializing", "ContainerCreating"):
            return str(each.state.waiting.reason)
        if each.state.terminated and each.state.terminated.exit_code:
            return f"container {each.name} ended with {each.state.terminated.exit_code}"
    return str(pod.status.reason or pod.status.phase)
