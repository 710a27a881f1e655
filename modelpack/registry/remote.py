"""A repository in a registry that speaks the OCI distribution specification over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import requests
import urllib3

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError, RemoteError
from modelpack.reference import Reference
from modelpack.registry import upload
from modelpack.registry.content import CHUNK, Tally, hexadecimal, read_manifest
from modelpack.registry.wire import Patience, Wire, reason

_ACCEPT = ", ".join((oci.IMAGE_INDEX, oci.IMAGE_MANIFEST, oci.DOCKER_INDEX, oci.DOCKER_MANIFEST))


class RemoteRepository:
    """Implements `registry.Repository`. Opens no connection before it is asked something."""

    def __init__(self, reference: Reference, patience: Patience | None = None) -> None:
        self.reference = reference.at()
        self._wire = Wire(self.reference, patience)

    def has_blob(self, digest: str) -> bool:
        hexadecimal(digest)
        return upload.has_blob(self._wire, digest)

    def push_layer(self, layer: oci.Layer) -> oci.Descriptor:
        return oci.Descriptor(layer.media_type, upload.upload(self._wire, layer), layer.size)

    def push_manifest(self, manifest: oci.Manifest, tag: str = "") -> None:
        locator = tag or manifest.digest
        url = f"{self._wire.base}/manifests/{locator}"
        answer = self._wire.request("PUT", url, {"Content-Type": manifest.media_type}, manifest.raw)
        if not answer.ok:
            raise self._wire.error(answer, f"the manifest of {locator} is not stored")
        told = answer.headers.get("Docker-Content-Digest", manifest.digest)
        if told != manifest.digest:
            raise IntegrityError(
                self.reference.at(tag=tag),
                f"the registry says that it stored {told} where {manifest.digest} was sent",
                "do not trust it",
            )

    def manifest(self, locator: str) -> oci.Manifest:
        by_digest = oci.is_digest(locator)
        subject = self.reference.at(digest=locator) if by_digest else self.reference.at(tag=locator)
        answer = self._wire.request("GET", f"{self._wire.base}/manifests/{locator}", {"Accept": _ACCEPT})
        if answer.status == 404:
            raise NotFoundError(subject, "the registry has no such image", "check the name and the tag")
        if not answer.ok:
            raise self._wire.error(answer, f"the manifest of {locator} cannot be read")
        digest = locator if by_digest else answer.headers.get("Docker-Content-Digest", "")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return read_manifest(answer.body, subject, digest, media_type)

    def read_blob(self, digest: str, size: int) -> Iterator[memoryview]:
        hexadecimal(digest)
        subject = self.reference.at(digest=digest)
        with self._wire.stream(f"{self._wire.base}/blobs/{digest}") as response:
            yield from Tally(subject, size, digest).through(self._pieces(response))

    def _pieces(self, response: requests.Response) -> Iterator[memoryview]:
        try:
            while piece := response.raw.read(CHUNK, decode_content=False):
                yield memoryview(piece)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise RemoteError(
                self.reference.name, f"the connection broke in a download: {reason(error)}", "try again"
            ) from error
