"""Who may write, and who may read: bearer tokens (RFC 6750) with the name of the person or program that has each."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException, Request

from modelpack.errors import InputError, NotFoundError, RemoteError

LEAST = 16  # characters of a token: a short one can be tried out
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True)
class Access:
    """Tokens by name: of `folder`, which holds each in a file of its name, and of `text`, NAME=TOKEN with blanks.

    Where there never were any, anybody may do anything. The folder is read again for each request, so that a token that
    is withdrawn ends at once; after the last one nobody gets in.
    """

    folder: Path | None = None
    text: str = field(default="", repr=False)
    anyone_reads: bool = False
    _guarded: threading.Event = field(default_factory=threading.Event, init=False, repr=False)  # there was a token

    def tokens(self) -> Mapping[str, bytes]:
        """Each token's hash by name. Raises InputError, NotFoundError, RemoteError; no message has a token."""
        found = {}
        for word in self.text.split():
            name, equals, token = word.partition("=")
            if not equals:
                raise InputError("the gate's tokens", "one in its variable has no name", "write NAME=TOKEN")
            found[name] = _hash("its variable", name, token)
        if self.folder is not None:
            try:
                # a mounted Secret's own files begin with a dot
                files = [each for each in self.folder.iterdir() if each.is_file() and not each.name.startswith(".")]
                found |= {each.name: _hash(str(self.folder), each.name, each.read_text().strip()) for each in files}
            except FileNotFoundError as error:
                raise NotFoundError(self.folder, "there is no such folder of tokens") from error
            except (OSError, UnicodeDecodeError) as error:
                raise RemoteError(self.folder, f"cannot be read ({type(error).__name__})") from error
        if found:
            self._guarded.set()
        return found

    async def reader(self, request: Request) -> None:
        """A dependency of routes that only tell; answers 401 to whom they are not for."""
        if not self.anyone_reads:
            await self.writer(request)

    async def writer(self, request: Request) -> str:
        """A dependency of routes that change something: the name of whose token it is, "" where none is needed."""
        tokens = self.tokens()
        if not (tokens or self._guarded.is_set()):
            return ""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise HTTPException(401, "this needs a token: send it as Authorization: Bearer", _CHALLENGE)
        seen, who = hashlib.sha256(given.strip().encode()).digest(), ""
        for name, known in tokens.items():  # all of them: the time tells nothing of which
            if hmac.compare_digest(known, seen):
                who = name
        if not who:
            raise HTTPException(401, "this token is not known", _CHALLENGE)
        return who


OPEN = Access()


def _hash(place: str, name: str, token: str) -> bytes:
    if not (name and name.isprintable() and len(name) <= 128):
        raise InputError("the gate's tokens", f"{name[:128]!r} in {place} is not a name", "write NAME=TOKEN")
    if len(token) < LEAST or not token.isascii() or not token.isprintable():
        problem = f"that of {name!r} in {place} is not one of at least {LEAST} ASCII characters"
        raise InputError("the gate's tokens", problem, "make one by `openssl rand -hex 24`")
    return hashlib.sha256(token.encode()).digest()
