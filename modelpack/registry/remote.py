"""A repository in a registry that speaks the OCI distribution specification over HTTP."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import requests
import urllib3

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError, RemoteError
from modelpack.reference import Reference
from modelpack.registry import referrers, upload
from modelpack.registry.content import CHUNK, MANIFEST_LIMIT, Tally, hexadecimal, read_manifest
from modelpack.registry.trust import follow
from modelpack.registry.wire import Answer, Patience, Wire, reason

_ACCEPT = ", ".join((oci.IMAGE_INDEX, oci.IMAGE_MANIFEST, oci.DOCKER_INDEX, oci.DOCKER_MANIFEST))
_ACCEPT_LIST = f"application/json, {oci.IMAGE_INDEX}"
_PAGE = 1000  # tags asked for at once
_MOST_PAGES = 200
_MOST_TAGS = 100_000
_NO_API = frozenset({400, 404, 405, 406, 501})
"""What registries without a referrers API answer when they are asked for one."""
_MOST_TURNS = 50
_TURN = 0.1
"""Seconds after which a list that was written is read again, at least: others that had read it before have written
theirs by then. A registry cannot be told to replace only what was read."""


class RemoteRepository:
    """Implements `registry.Repository`. Opens no connection before it is asked something."""

    def __init__(self, reference: Reference, patience: Patience | None = None) -> None:
        self.reference = reference.at()
        self._wire = Wire(self.reference, patience)
        self._lists_referrers = True  # until it says that it does not

    def has_blob(self, digest: str) -> bool:
        hexadecimal(digest)
        return upload.has_blob(self._wire, digest)

    def push_layer(self, layer: oci.Layer) -> oci.Descriptor:
        return oci.Descriptor(layer.media_type, upload.upload(self._wire, layer), layer.size)

    def push_manifest(self, manifest: oci.Manifest, tag: str = "") -> None:
        self._put(manifest, tag)

    def _put(self, manifest: oci.Manifest, tag: str = "") -> Answer:
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
        return answer

    def tags(self) -> tuple[str, ...]:
        url = f"{self._wire.base}/tags/list"
        found: list[str] = []
        for answer in self._pages(f"{url}?n={_PAGE}"):
            if answer.status == 404:
                raise NotFoundError(self.reference.name, "the registry has no such repository", "check the name")
            if not answer.ok:
                raise self._wire.error(answer, "the tags cannot be listed")
            tags = oci.read_json(answer.body, self.reference.name, "the list of tags").get("tags")
            if not isinstance(tags, list | None):
                raise IntegrityError(self.reference.name, "the list of tags is none")
            found += [each for each in tags or () if isinstance(each, str)]
            if len(found) > _MOST_TAGS:
                raise IntegrityError(self.reference.name, f"the registry lists more than {_MOST_TAGS} tags")
        return tuple(dict.fromkeys(found))

    def referrers(self, digest: str, artifact_type: str = "") -> tuple[oci.Descriptor, ...]:
        subject, tag = self.reference.at(digest=digest), referrers.fallback_tag(digest)
        found: list[oci.Descriptor] = []
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        for answer in self._pages(f"{self._wire.base}/referrers/{digest}{query}") if self._lists_referrers else ():
            if not found and (answer.status in _NO_API or (answer.ok and not _is_index(answer))):
                self._lists_referrers = False
                break
            if not answer.ok:
                raise self._wire.error(answer, f"what refers to {digest} cannot be listed")
            found += referrers.listed(read_manifest(answer.body, subject, media_type=oci.IMAGE_INDEX))
            if len(found) > referrers.MOST_REFERRERS:
                raise IntegrityError(subject, f"the registry lists more than {referrers.MOST_REFERRERS} referrers")
        if not self._lists_referrers:
            index = self._list_of_referrers(tag)
            found = referrers.listed(index) if index else []
        return referrers.of_type(found, artifact_type)

    def attach(self, manifest: oci.Manifest) -> None:
        subject = referrers.subject_of(manifest)
        if "OCI-Subject" in self._put(manifest).headers:
            return
        tag = referrers.fallback_tag(subject.digest)
        for _ in range(_MOST_TURNS):
            started = time.monotonic()
            changed = referrers.with_referrer(self._list_of_referrers(tag), manifest)
            if changed is None:
                return
            self.push_manifest(changed, tag)
            # whoever takes turns with us is about as fast as we are; the jitter lets one of them be the last
            time.sleep(max(_TURN, 4 * (time.monotonic() - started)) * random.uniform(1, 2))  # noqa: S311
        raise RemoteError(
            self.reference.at(tag=tag), "others change the list of referrers again and again", "try again"
        )

    def _list_of_referrers(self, tag: str) -> oci.Manifest | None:
        try:
            return self.manifest(tag)
        except NotFoundError:
            return None

    def _pages(self, url: str) -> Iterator[Answer]:
        """The answer to a GET, and those to the pages that each names as its next (RFC 8288); whatever their status.

        Raises IntegrityError for a list that does not end.
        """
        for _ in range(_MOST_PAGES):
            answer = self._wire.request("GET", url, {"Accept": _ACCEPT_LIST})
            if len(answer.body) > MANIFEST_LIMIT:
                raise IntegrityError(self.reference.name, f"a list is larger than {MANIFEST_LIMIT >> 20} MiB")
            yield answer
            following = [
                each.get("url", "")
                for each in requests.utils.parse_header_links(answer.headers.get("Link", ""))
                if each.get("rel") == "next"
            ]
            if not answer.ok or not following:
                return
            url = follow(answer.url, following[0], self.reference.name)
        raise IntegrityError(self.reference.name, f"the registry's list has more than {_MOST_PAGES} pages")

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


def _is_index(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip() == oci.IMAGE_INDEX
