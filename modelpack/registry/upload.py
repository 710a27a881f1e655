"""Uploading one blob: POST for a session, one body, and the digest at the end.

Source: OCI distribution specification 1.1, "Pushing blobs". A digest that is known beforehand goes with the body in one
PUT. One that is not is computed while a single PATCH streams the bytes, and closes the upload in an empty PUT; several
PATCHes would be legal, but some registries refuse them. A body that broke half-way is started over from the layer's
first byte in a new session, a bounded number of times.
"""

from __future__ import annotations

from modelpack.errors import IntegrityError, ModelpackError, RemoteError
from modelpack.oci import Layer
from modelpack.registry.body import CutError, send
from modelpack.registry.content import Tally
from modelpack.registry.wire import PASSING, Answer, Wire

GONE = 404
"""The status of an upload session that the registry no longer knows: lost, or closed by a request whose answer was."""


def upload(wire: Wire, layer: Layer) -> str:
    """Store a blob that may be there already, and give its digest.

    Raises RemoteError when it cannot be stored, IntegrityError when the bytes are not the layer's.
    """
    digest = layer.digest
    failure: ModelpackError | None = None
    for attempt in range(wire.patience.tries):
        if digest and has_blob(wire, digest):
            return digest
        tally = Tally(layer.digest or wire.reference.name, layer.size, layer.digest)
        asked = ""
        try:
            answer = _Session(wire).run(layer, tally)
        except CutError as error:
            failure = RemoteError(
                wire.reference.name, f"the connection to the registry broke in an upload: {error}", "try again"
            )
            failure.__cause__ = error
        else:
            digest = tally.digest
            if answer.ok:
                _confirm(wire, answer, digest)
                return digest
            failure = wire.error(answer, f"the registry does not take a blob of {layer.size} bytes")
            if answer.status not in PASSING | {401, GONE}:
                break
            asked = answer.headers.get("Retry-After", "")
        if attempt + 1 < wire.patience.tries:
            wire.patience.wait(attempt, asked)
    assert failure is not None
    raise failure


def has_blob(wire: Wire, digest: str) -> bool:
    """Ask for a blob; a redirect to where it is kept means that it is there."""
    answer = wire.request("HEAD", f"{wire.base}/blobs/{digest}")
    if answer.status == GONE:
        return False
    if answer.status >= 400:
        raise wire.error(answer, "the registry does not say whether it has a blob")
    return True


class _Session:
    """One upload session of the registry; given up if it does not end well."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def run(self, layer: Layer, tally: Tally) -> Answer:
        opened = self._wire.request("POST", f"{self._wire.base}/blobs/uploads/")
        if not opened.ok:
            raise self._wire.error(opened, "the registry opens no upload")
        location = self._wire.location(opened)
        answer: Answer | None = None
        try:
            if layer.digest:
                answer = self._body("PUT", _closing(location, layer.digest), layer, tally)
            else:
                answer = self._body("PATCH", location, layer, tally)
                if answer.ok:
                    location = self._wire.location(answer)
                    answer = self._wire.request("PUT", _closing(location, tally.digest))
            return answer
        finally:
            if answer is None or not answer.ok:
                self._wire.forget(location)

    def _body(self, method: str, url: str, layer: Layer, tally: Tally) -> Answer:
        used = self._wire.authorization(url, write=True)
        answer = send(method, url, used, layer.size, tally.through(layer.chunks()), self._wire.tls)
        if answer.status == 401:
            self._wire.renew(answer, used, write=True)  # the body is spent: the next session has the new one
        return answer


def _closing(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _confirm(wire: Wire, answer: Answer, digest: str) -> None:
    told = answer.headers.get("Docker-Content-Digest", digest)
    if told != digest:
        raise IntegrityError(
            wire.reference.name, f"the registry says that it stored {told} where {digest} was sent", "do not trust it"
        )
