"""Loading an image into a Docker daemon, streamed: nothing is held in memory or written to disk on this side."""

from __future__ import annotations

from typing import Any

from modelpack import oci
from modelpack.errors import InputError, RemoteError
from modelpack.reference import Reference
from modelpack.registry.archive import image_pieces

TIMEOUT = 3600
"""Seconds for the daemon to answer; it unpacks all layers before it does."""


def connect() -> Any:
    """A client of the daemon of DOCKER_HOST, else of the local socket, which answers. To be closed.

    Raises InputError where the library is missing, RemoteError where the daemon is.
    """
    try:
        import docker
    except ImportError as error:
        raise InputError(
            "docker", "this needs Docker's Python package", "pip install 'modelpack-delivery[docker]'"
        ) from error
    import requests

    try:
        client = docker.from_env(timeout=TIMEOUT)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise RemoteError(
            "docker", "the Docker daemon cannot be reached", "start it, or set DOCKER_HOST, then try again"
        ) from error
    return client


def load(artifact: oci.Artifact, reference: Reference, platform: oci.Platform | None = None) -> None:
    """Load the image for a platform, by default the daemon's own, and tag it. All digests have to be known.

    Raises what `connect` does, RemoteError for a refusal, and NotFoundError for the platform.
    """
    client = connect()
    import docker
    import requests

    try:
        version = client.version()
        wanted = platform or oci.Platform(version["Os"], version["Arch"])
        client.images.load(image_pieces(artifact, reference, wanted))  # any iterable is sent in chunks
    except (docker.errors.DockerException, requests.RequestException) as error:
        explanation = getattr(error, "explanation", None) or "the connection broke"
        raise RemoteError(reference, f"the Docker daemon does not load the image: {explanation}") from error
    finally:
        client.close()
