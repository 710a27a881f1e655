"""The form in which two courses are compared: a line for each thing that happened.

    status Progressing weight=20 iterations=0 failed=0 applied=s2 promoted=s1
    call rollout Progressing c2 {"model": "mpg"} -> 403
    call event Progressing c2 {"eventType": "Warning", "model": "mpg"} -> 200
    route 20 | canary up | canary down | primary v2 | git v2

`normal` makes them so: hashes and checksums are numbered as they appear (s1, s2, …; c1, c2, …), since no two hashers
agree; repeats are removed, and events that a server is not ready yet, since how often something waits is a matter of
time. Events are repeats if they say the same; what they say is left out, since the rehearsal has words of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_HASH = re.compile(r"\b([cs]):(\w*)")
_NOT_READY = re.compile(r".*\t(?:(?:canary deployment )?\S+ not ready: |Waiting for the (?:primary|canary): )")
_VARYING = ("eventMessage", "timestamp")


def status_line(status: Mapping[str, Any]) -> str:
    """A Canary's status, as Flagger writes it."""
    numbers = ("weight", "canaryWeight"), ("iterations", "iterations"), ("failed", "failedChecks")
    words = [status.get("phase", ""), *(f"{word}={status.get(key, 0)}" for word, key in numbers)]
    hashes = ("applied", "lastAppliedSpec"), ("promoted", "lastPromotedSpec")
    return " ".join(["status", *words, *(f"{word}=s:{status.get(key, '')}" for word, key in hashes)])


def call_line(path: str, body: Mapping[str, Any], answer: str) -> str:
    """A webhook's payload; the path is /namespace/type, and what an event says follows a tab."""
    _, namespace, kind = path.split("/")
    told = dict(body)
    named = (told.pop("namespace"), told.pop("name"))
    says = told.get("metadata", {}).get("eventMessage", "")
    metadata = {key: value for key, value in told.pop("metadata", {}).items() if key not in _VARYING}
    phase, checksum = told.pop("phase"), told.pop("checksum")
    if named != (namespace, "mpg") or told:
        raise ValueError(f"{path} was sent {body}")
    return f"call {kind} {phase} c:{checksum} {json.dumps(metadata, sort_keys=True)} -> {answer}\t{says}"


def numbered(lines: Iterable[str]) -> list[str]:
    names: dict[tuple[str, str], str] = {}

    def name(found: re.Match[str]) -> str:
        kind, value = found.groups()
        return names.setdefault((kind, value), f"{kind}{1 + sum(key == kind for key, _ in names)}")

    return [_HASH.sub(name, line) for line in lines]


def normal(lines: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for line in numbered(lines):
        if kept[-1:] != [line] and not _NOT_READY.match(line):
            kept.append(line)
    return [line.partition("\t")[0] for line in kept]


def has(line: str, words: str) -> bool:
    return set(words.split()) <= set(line.split())
