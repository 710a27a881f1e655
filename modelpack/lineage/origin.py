"""What a model was trained from, and its form for others: an in-toto statement with SLSA's provenance predicate.

Sources: in-toto attestation framework, Statement v1 and ResourceDescriptor v1; SLSA 1.0, provenance v1. It is not
signed: it says what the run said, and the registry who may say it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

from modelpack.oci import canonical_json
from modelpack.reference import Reference

Value = str | int | float | bool

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "https://modelpack.dev/training/v1"
_BUILDER = "https://modelpack.dev/builders/"
_HEX = re.compile(r"[0-9a-f]+")
_DATA_DIGESTS = {("dvc", 32): "md5", ("git", 40): "gitBlob"}
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True)
class Origin:
    """What one version came from. `run` is the run's id; `folder` the model's in the repository; `data` and `code` are
    versions like `dvc:<md5>` and `sha256:<hex>`, `data_uri` says where the data lie; `notebook` and `html` where the
    run's notebook and its page lie, "" for nowhere; `started` and `ended` are unix seconds, 0.0 for not known;
    `builder` is the backend's name, or a URI of one's own; `dvc` the text of the .dvc file that the trained model was
    added under, "" if it was not.
    """

    run: str
    repository: str
    branch: str
    commit: str
    folder: str
    data: str
    code: str = ""
    reason: str = ""
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    notebook: str = ""
    html: str = ""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    started: float = 0.0
    ended: float = 0.0
    builder: str = "local"
    data_uri: str = ""
    dvc: str = ""


def to_statement(origin: Origin, image: Reference) -> dict[str, Any]:
    """The statement about an image with a digest. No login in an address goes into it."""
    repository = _LOGIN.sub("", origin.repository)
    byproducts = [
        _resource("notebook", origin.notebook, mediaType="application/x-ipynb+json"),
        _resource("html", origin.html, mediaType="text/html"),
        _resource("metrics", content=_encoded(canonical_json(dict(origin.metrics)) if origin.metrics else b"")),
        _resource("dvc", content=_encoded(origin.dvc.encode()), mediaType="application/yaml"),
    ]
    metadata = {
        "invocationId": origin.run,
        "startedOn": to_rfc3339(origin.started),
        "finishedOn": to_rfc3339(origin.ended),
    }
    return {
        "_type": STATEMENT,
        "subject": [{"name": image.name, "digest": {"sha256": image.digest.removeprefix("sha256:")}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {
                    "repository": repository,
                    "branch": origin.branch,
                    "folder": origin.folder,
                    "reason": origin.reason,
                    "parameters": dict(origin.parameters),
                },
                "resolvedDependencies": _dependencies(origin, repository),
            },
            "runDetails": {
                "builder": {"id": origin.builder if ":" in origin.builder else _BUILDER + origin.builder},
                "metadata": {key: each for key, each in metadata.items() if each},
                "byproducts": [each for each in byproducts if each],
            },
        },
    }


def from_statement(value: Mapping[str, Any]) -> Origin:
    """Raises KeyError, TypeError, ValueError or AttributeError for what is no statement of a training run."""
    predicate = value["predicate"]
    build, details = predicate["buildDefinition"], predicate["runDetails"]
    if (value["_type"], value["predicateType"], build["buildType"]) != (STATEMENT, PREDICATE, BUILD):
        raise ValueError("a statement about something else")
    given, metadata = build["externalParameters"], details.get("metadata") or {}
    used = _by_name(build.get("resolvedDependencies") or ())
    made = _by_name(details.get("byproducts") or ())
    source, data, code = (used.get(each, {}) for each in ("source", "data", "code"))
    return Origin(
        run=_text(metadata, "invocationId"),
        repository=_text(given, "repository"),
        branch=_text(given, "branch"),
        commit=_text(source.get("digest") or {}, "gitCommit"),
        folder=_text(given, "folder"),
        data=_text(data.get("annotations") or {}, "version"),
        code=_text(code.get("annotations") or {}, "version"),
        reason=_text(given, "reason"),
        parameters=MappingProxyType({str(key): _plain(each) for key, each in (given.get("parameters") or {}).items()}),
        notebook=_text(made.get("notebook", {}), "uri"),
        html=_text(made.get("html", {}), "uri"),
        metrics=MappingProxyType(
            {str(key): float(each) for key, each in json.loads(_content(made, "metrics") or b"{}").items()}
        ),
        started=_seconds(_text(metadata, "startedOn")),
        ended=_seconds(_text(metadata, "finishedOn")),
        builder=_text(details["builder"], "id").removeprefix(_BUILDER),
        data_uri=_text(data, "uri") if _text(data, "uri") != _text(data.get("annotations") or {}, "version") else "",
        dvc=_content(made, "dvc").decode(),
    )


def about(value: Mapping[str, Any], digest: str) -> bool:
    """Whether a statement is about an image; raises like `from_statement`."""
    return any(f"sha256:{each['digest'].get('sha256')}" == digest for each in value["subject"])


def to_rfc3339(seconds: float) -> str:
    """RFC 3339 in UTC of unix seconds, "" for 0.0 and for what is no time."""
    try:
        at = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if seconds else ""


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def _dependencies(origin: Origin, repository: str) -> list[dict[str, Any]]:
    """The source, the data and the code, as resource descriptors: each has a URI or a digest, as the spec asks."""
    source = f"git+{repository}" if "://" in repository else f"git+file:{repository}"
    scheme, _, digest = origin.data.partition(":")
    hashed = _DATA_DIGESTS.get((scheme, len(digest))) if _HEX.fullmatch(digest) else None
    found = [
        _resource("source", f"{source}@refs/heads/{origin.branch}", digest={"gitCommit": origin.commit}),
        _resource(
            "data",
            origin.data_uri or origin.data,
            digest={hashed: digest} if hashed else {},
            annotations={"version": origin.data},
        ),
        _resource("code", origin.code, annotations={"version": origin.code}),
    ]
    return [each for each in found if each]


def _resource(name: str, uri: str = "", **more: Any) -> dict[str, Any] | None:
    """A resource descriptor without what is empty; None for one that points nowhere."""
    value = {"name": name, **({"uri": _LOGIN.sub("", uri)} if uri else {}), **{k: v for k, v in more.items() if v}}
    return value if {"uri", "digest", "content"} & value.keys() else None


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _content(resources: Mapping[str, Mapping[str, Any]], name: str) -> bytes:
    return base64.b64decode(_text(resources.get(name, {}), "content"), validate=True)


def _by_name(resources: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(each.get("name", "")): each for each in resources}


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key, "")
    if not isinstance(found, str):
        raise TypeError(key)
    return found


def _plain(value: Any) -> Value:
    if not isinstance(value, Value):
        raise TypeError("a parameter is not a plain value")
    return value
