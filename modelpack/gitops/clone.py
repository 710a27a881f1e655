"""The temporary repository that stands for a URL or a bare repository, and git's logins for its server."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelpack.errors import RefusedError, RemoteError
from modelpack.gitops.program import Git, without_login
from modelpack.gitops.remote import Remote

_NAME = "tip"  # of its one remote
_PLAIN = re.compile(r"/[^\n]*")  # what the file with alternates takes without quotes
_PARTIAL = r"^(remote\..*\.promisor|extensions\.partialclone)$"


def is_url(location: str) -> bool:
    return not Path(location).exists() and (":" in location.split("/")[0])


def clone(location: str, scratch: Path) -> tuple[Git, Remote]:
    """An empty clone of a URL or a bare repository's path in `scratch`, for a remote to fetch into.

    A repository on this machine lends its objects, so that nothing is copied; of a URL the little that is needed comes.
    """
    git = Git(scratch / "clone.git", without_login(location))
    address, objects, form = location, "", "sha1"
    if not is_url(location):
        source = Git(Path(location).resolve(), git.place)
        address = source.line("rev-parse", "--absolute-git-dir")
        form = source.line("rev-parse", "--show-object-format")
        objects = _objects(source)
    # no template: hooks from one would run for what is no repository of the person's
    Git(scratch, git.place).do("init", "--quiet", "--bare", "--template=", f"--object-format={form}", str(git.folder))
    if objects:
        try:
            (git.folder / "objects/info").mkdir(exist_ok=True)
            (git.folder / "objects/info/alternates").write_text(f"{objects}\n")
        except OSError as error:
            raise RemoteError(str(git.folder), f"cannot be written: {error.strerror}") from error
    git.do("config", f"remote.{_NAME}.url", address)
    return git, Remote(git, _NAME, thin=not objects)


def _objects(source: Git) -> str:
    """Where a repository keeps its objects, "" where it has not all of its history."""
    if source.ask("config", "--get-regexp", _PARTIAL).code == 0:
        remedy = "name the one that it was cloned from with --repo"
        raise RefusedError(source.place, "is a bare repository that lacks files, a partial clone", remedy)
    shallow = source.line("rev-parse", "--is-shallow-repository") == "true"
    folder = str((source.folder / source.line("rev-parse", "--git-path", "objects")).resolve())
    return "" if shallow or not _PLAIN.fullmatch(folder) else folder


def password_for(git: Git, url: str, remote_url: str) -> str:
    """The password that git's helpers have for an address, "" for none; a login in the remote's own address counts."""
    asked, own = urlsplit(url), urlsplit(remote_url)
    for each in (asked, own):
        if each.password and each.hostname == asked.hostname:
            return unquote(each.password)
    if asked.scheme not in ("http", "https") or not asked.hostname:
        return ""
    host = asked.netloc.rpartition("@")[2]
    lines = [("protocol", asked.scheme), ("host", host), ("path", asked.path.lstrip("/"))]
    if asked.username:
        lines.append(("username", unquote(asked.username)))
    question = "".join(f"{key}={value}\n" for key, value in lines if value and "\n" not in value)
    # a program that answers in the person's place is asked, a window on the screen is not
    quiet = Git(git.folder, git.place, {"GIT_ASKPASS": os.environ.get("GIT_ASKPASS", "")})
    answer = quiet.ask("credential", "fill", stdin=f"{question}\n".encode())
    pairs = (line.partition("=") for line in answer.text.splitlines())
    return next((value for key, _, value in pairs if key == "password"), "") if not answer.code else ""
