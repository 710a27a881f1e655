"""One way to a Kubernetes API server: which cluster, who asks, and one request with its answer as bytes.

The kubernetes client is imported on use; it knows how to find a cluster and how to prove who asks, and renews that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from modelpack.errors import InputError, RemoteError
from modelpack.text import blanked

Send = Callable[[str, str, "bytes | None", str, float], tuple[int, bytes]]
"""(method, path with query, body, its type, timeout in seconds) -> (HTTP status, body). Raises RemoteError if nobody
answers."""
_SERVICE_ACCOUNT = "KUBERNETES_SERVICE_HOST"
_LONGEST = 300


def configured(context: str | None = None) -> Any:
    """The kubernetes client's configuration: of the cluster that this runs in, else of $KUBECONFIG or ~/.kube/config; a
    `context` is always of those. Raises InputError if there is none."""
    try:
        from kubernetes import client
        from kubernetes import config as untyped
    except ImportError as error:
        raise InputError("a cluster", f"needs {error.name}", "run pip install 'modelpack-delivery[cluster]'") from error
    config: Any = untyped
    settings: Any = client.Configuration()
    try:
        if context is None and os.environ.get(_SERVICE_ACCOUNT):
            config.load_incluster_config(client_configuration=settings)
        else:
            # the client reads $KUBECONFIG when it is imported, which may have been long ago
            file = os.environ.get("KUBECONFIG") or None
            config.load_kube_config(config_file=file, context=context, client_configuration=settings)
    except Exception as error:  # whatever the client trips over in a file that is no kubeconfig
        raise InputError(
            "a cluster", f"is not configured: {error}", "set KUBECONFIG, or name a --context that it has"
        ) from error
    return settings


def connect(settings: Any, most: int) -> Send:
    """By such a configuration; an answer of more than `most` bytes is a RemoteError. Contacts nobody yet."""
    import urllib3
    from kubernetes import client
    from kubernetes.config.config_exception import ConfigException

    pool = client.ApiClient(settings).rest_client.pool_manager

    def send(method: str, path: str, body: bytes | None, kind: str, timeout: float) -> tuple[int, bytes]:
        try:
            answer = pool.request(
                method,
                settings.host + path,
                body=body,
                headers={
                    "accept": "application/json, */*",  # a log is plain text
                    **({"content-type": kind} if kind else {}),
                    **proof(settings),
                },
                timeout=urllib3.Timeout(total=timeout),
                retries=False,
                preload_content=False,
            )
            try:
                found = answer.read(most + 1)
            finally:
                answer.release_conn()
        except (urllib3.exceptions.HTTPError, ConfigException, OSError) as error:
            raise RemoteError(
                settings.host, f"the API server cannot be reached ({type(error).__name__})", "try again"
            ) from error
        if len(found) > most:
            raise RemoteError(settings.host, f"answered more than {most} bytes")
        return int(answer.status), bytes(found)

    return send


def proof(settings: Any) -> Mapping[str, str]:
    """The headers that prove who asks, none for a certificate."""
    found = [each for each in settings.auth_settings().values() if each["in"] == "header" and each["value"]]
    return {each["key"]: each["value"] for each in found}


def reason_of(status: int, body: bytes) -> str:
    """What an answer other than 2xx says, in one bounded line."""
    try:
        reason = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = body[:200].decode("utf-8", "replace").strip()
    return blanked(reason)[:_LONGEST] or f"status {status}"
