"""A reference names an image: `registry/repository[:tag][@digest]`.

The grammar is that of the distribution project's reference package: a first component with a dot, a colon, or the name
`localhost` is a registry; without one it is Docker Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from modelpack.errors import InputError

_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

DOCKER_HUB = "docker.io"


@dataclass(frozen=True, order=True)
class Reference:
    """An image's place. `tag` and `digest` are "" where the reference has none."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as people write it; raises InputError for what is none."""
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InputError(text, "the digest is not sha256: and 64 hexadecimal digits")
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost"):
            registry, rest = head, tail
        else:
            registry = DOCKER_HUB
            if not slash:
                rest = f"library/{rest}"
        repository, colon, tag = rest.partition(":")
        port = registry.rpartition(":")[2]
        if not _HOST.fullmatch(registry) or (port.isdigit() and int(port) > 65535):
            raise InputError(text, f"{registry!r} is not a registry's host[:port]")
        if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
            raise InputError(
                text,
                "is not an image reference",
                "write registry/repository:tag in lower case, like registry.example.com/models/mpg:v2",
            )
        if colon and not _TAG.fullmatch(tag):
            raise InputError(
                text, f"{tag!r} is not a tag", "use letters, digits, dot, dash and underscore, 128 at most"
            )
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def locator(self) -> str:
        """What a registry is asked for: the digest if there is one, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def at(self, *, tag: str = "", digest: str = "") -> Reference:
        """The same repository at another tag or digest."""
        return replace(self, tag=tag, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"
