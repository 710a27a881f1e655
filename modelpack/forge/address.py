"""From the address of a Git remote to the address of its forge's API. Pure.

Sources: git-fetch(1), "Git URLs"; GitHub docs, "Getting started with the REST API" (Enterprise: HOST/api/v3, GraphQL at
HOST/api/graphql; ghe.com: api.SUBDOMAIN.ghe.com); GitLab docs, "REST API" (/api/v4, below a relative URL if there is
one); Gitea docs, "API Usage" (/api/v1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from modelpack.definition import FORGES
from modelpack.errors import InputError

_SCP = re.compile(r"(?:[^@/:\s]+@)?(\[[0-9A-Fa-f:]+\]|[^@/:\s\[\]]+):(?!//)(.+)")
_SSH_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
_PUBLIC = ("gitlab.com", "codeberg.org")  # whose front doors speak http too, and send on to https
_ENDING = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
_SEGMENT = re.compile(r"[^\s/\\?#%:\x00-\x1f\x7f]+")
_NAME_THE_FORGE = f"name its kind in pullRequest.forge of model.yaml: {', '.join(FORGES)}"


@dataclass(frozen=True)
class Address:
    """`api` ends without a slash. `host` is the remote's, `project` is owner/name (GitLab: all groups before the name).

    `password` is what the remote's URL holds, "" for nothing.
    """

    forge: str
    api: str
    host: str
    project: str
    password: str = field(default="", repr=False)

    @property
    def subject(self) -> str:
        return f"{self.host}/{self.project}"

    @property
    def page(self) -> str:
        """What Git clones by https, for which its credential helper may have a login."""
        scheme, netloc, path, *_ = urlsplit(self.api)
        host = netloc.removeprefix("api.") if self.forge == "github" else netloc
        return f"{scheme}://{host}{path.removesuffix(_ENDING[self.forge])}/{self.project}.git"


@dataclass(frozen=True)
class _Remote:
    scheme: str  # http, https, or ssh
    host: str
    port: str  # ":8443", "" for the scheme's own; always "" for ssh
    path: tuple[str, ...]
    password: str = field(default="", repr=False)


def parse_address(remote_url: str, forge: str = "", url: str = "") -> Address:
    """`forge` and `url` (of the API, or of the forge's front page) are "" where the remote's address tells.

    Raises InputError for an address that is no forge's, and where a token would go to another place than the remote.
    """
    remote = _remote(remote_url)
    kind = forge or _kind(remote.host)
    if not kind:
        raise InputError(f"the forge at {remote.host}", "its kind cannot be told by its name", _NAME_THE_FORGE)
    if kind not in FORGES:
        raise InputError(f"the forge at {remote.host}", f"{kind!r} is not a kind of forge", _NAME_THE_FORGE)
    api, prefix = _api(kind, remote, url)
    path = remote.path[len(prefix) :] if remote.path[: len(prefix)] == prefix else remote.path
    if kind != "gitlab":
        path = path[-2:]
    if len(path) < 2:
        raise InputError(f"the remote at {remote.host}", "is no project of a forge", "its address ends with owner/name")
    return Address(kind, api, remote.host + remote.port, "/".join(path), remote.password)


def _remote(text: str) -> _Remote:
    if not text:
        raise InputError(
            "the repository", "has no remote, and so no pull requests", "name one by --repo URL, or do without one"
        )
    if "://" not in text:
        found = _SCP.fullmatch(text)
        if not found or re.fullmatch(r"[A-Za-z]:[\\/].*", text):
            raise InputError("the remote", "is a folder: it has no pull requests", "name the repository by --repo URL")
        return _Remote("ssh", _host(found[1].strip("[]")), "", _path(found[2]))
    try:
        parts = urlsplit(text)
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        raise InputError("the remote", "its URL cannot be read", "check its host and port") from None
    scheme = parts.scheme.removeprefix("git+").removesuffix("+git")
    if scheme == "file" or not host:
        raise InputError("the remote", "is a folder: it has no pull requests", "name the repository by --repo URL")
    if scheme not in ("http", "https", "ssh", "git"):
        raise InputError("the remote", f"its URL begins with {scheme}://", "use https, http or ssh")
    web = scheme in ("http", "https")
    password = unquote(parts.password or "") if web else ""
    shown = f":{port}" if web and port and port != {"http": 80, "https": 443}[scheme] else ""
    return _Remote(scheme if web else "ssh", host, shown, _path(unquote(parts.path)), password)


def _host(name: str) -> str:
    name = name.lower().rstrip(".")
    if not re.fullmatch(r"[0-9a-z._-]*|[0-9a-f:.]+", name):
        raise InputError("the remote", "its host has characters that no host has", "check its address")
    name = _SSH_HOSTS.get(name, name)
    return f"[{name}]" if ":" in name else name


def _path(text: str) -> tuple[str, ...]:
    names = [each for each in text.strip("/").split("/") if each]
    if names and names[-1].endswith(".git"):
        names[-1] = names[-1].removesuffix(".git")
    if any(not _SEGMENT.fullmatch(each) or each in (".", "..") for each in names):
        raise InputError("the remote", "its path is not owner/name", "check its address")
    return tuple(names)


def _kind(host: str) -> str:
    if host == "github.com" or host.endswith(".ghe.com"):
        return "github"
    if host == "codeberg.org":
        return "gitea"
    names = {"gitlab": "gitlab", "gitea": "gitea", "forgejo": "gitea", "github": "github"}
    return next((kind for name, kind in names.items() if name in host), "")


def _api(kind: str, remote: _Remote, url: str) -> tuple[str, tuple[str, ...]]:
    """The API's address, and the names that a remote's path has before the project's own."""
    if url:
        return _given(kind, remote, url)
    host = remote.host + remote.port
    if kind == "github" and (remote.host == "github.com" or remote.host.endswith(".ghe.com")):
        return f"https://api.{remote.host}", ()
    scheme = "http" if remote.scheme == "http" and remote.host not in _PUBLIC else "https"
    # a Gitea's projects are two deep, so what comes before is the subfolder it is in; an SSH address does not have it
    prefix = remote.path[:-2] if kind == "gitea" and remote.scheme != "ssh" else ()
    return "/".join((f"{scheme}://{host}", *prefix)) + _ENDING[kind], prefix


def _given(kind: str, remote: _Remote, url: str) -> tuple[str, tuple[str, ...]]:
    where = "pullRequest.url"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        _ = parts.port
    except ValueError:
        raise InputError(where, "is no URL", "name the forge's address, like https://git.example.com") from None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise InputError(where, "is no plain http(s) URL", "name the forge's address, like https://git.example.com")
    # the URL stands in the repository, the token is the person's: it goes where they already send their commits
    if not _related(host, remote.host.strip("[]")):
        raise InputError(where, f"{host} is another host than the remote's, {remote.host}", "no token is sent there")
    if parts.scheme == "http" and remote.scheme != "http" and not _is_loopback(host):
        raise InputError(where, "would send a token over plain http", "use https, as the remote does")
    path = parts.path.rstrip("/")
    bare = path.removesuffix(_ENDING[kind])
    whole = path if path != bare or (kind == "github" and host.startswith("api.")) else path + _ENDING[kind]
    return SplitResult(parts.scheme, parts.netloc, whole, "", "").geturl(), tuple(filter(None, bare.split("/")))


def _related(one: str, other: str) -> bool:
    """The same host, or one below the other, as api.github.com is below github.com."""
    if one == other:
        return True
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return "." in shorter and longer.endswith(f".{shorter}") and not _is_number(shorter)


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_number(host) and ip_address(host).is_loopback)
