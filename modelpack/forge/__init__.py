"""Pull requests on GitHub, GitLab and Gitea (Forgejo): find, open, update, comment.

In: a repository's address and what a pull request is to say. Out: the pull request as the forge has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import urlsplit

from modelpack.definition import PullRequestStyle
from modelpack.errors import RefusedError
from modelpack.forge.address import Address, parse_address
from modelpack.forge.pull import Forge, Pull, State

__all__ = ["Forge", "Pull", "State", "open_forge"]

# where a token is, and where it says which server it is for: what `gh`, `glab` and the forges' own CI runners set
_TOKENS = {
    "github": ("GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab": ("GITLAB_TOKEN",),
    "gitea": ("GITEA_TOKEN", "FORGEJO_TOKEN"),
}
_SERVERS = {
    "github": ("GH_HOST", "GITHUB_SERVER_URL"),
    "gitlab": ("GITLAB_HOST", "CI_SERVER_URL"),
    "gitea": ("GITEA_SERVER_URL", "FORGEJO_SERVER_URL"),
}
_PUBLIC = {"github": "github.com", "gitlab": "gitlab.com", "gitea": ""}


def open_forge(remote_url: str, style: PullRequestStyle, credentials: Callable[[str], str]) -> Forge:
    """The forge of a repository, which is asked nothing yet.

    `credentials` gives the password that Git has for a URL, "" for none. Raises InputError for an address that is no
    forge's, RefusedError where there is no token.
    """
    address = parse_address(remote_url, style.forge, style.url)
    names = " or ".join(f"${each}" for each in _TOKENS[address.forge])
    token = _token(address) or address.password or credentials(address.page)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        problem = "the login for it has characters that no token has" if token else "there is no token for it"
        raise RefusedError(address.subject, problem, f"set {_advice(address, names)}, or give Git a login for it")

    from modelpack.forge.http import Access, Api  # requests takes a while to import: on use

    scheme = "token" if address.forge == "gitea" else "Bearer"
    api = Api(Access(address.api, address.subject, token, scheme, f"check {_advice(address, names)}"))
    if address.forge == "gitlab":
        from modelpack.forge.gitlab import GitLab

        return GitLab(api, address.project)
    if address.forge == "gitea":
        from modelpack.forge.gitea import Gitea

        return Gitea(api, address.project)
    from modelpack.forge.github import GitHub

    return GitHub(api, address.project, address.api.removesuffix("/v3") + "/graphql")


def _token(address: Address) -> str:
    """The token in the environment, if it is for this forge.

    A token for the public forge must not go to whatever server a repository names as its next environment: one for
    another server wants that server's name beside it.
    """
    token = next(filter(None, map(_variable, _TOKENS[address.forge])), "")
    meant, host = _server(address.forge), _hostname(address.host)
    return token if meant in ("", host) or (address.forge == "github" and host.endswith(".ghe.com")) else ""


def _advice(address: Address, names: str) -> str:
    meant, host = _server(address.forge), _hostname(address.host)
    return names if meant in ("", host) else f"{names} (and ${_SERVERS[address.forge][0]} to {host})"


def _server(forge: str) -> str:
    """The host that the environment's token is for, "" for any."""
    said = next(filter(None, map(_variable, _SERVERS[forge])), "")
    return _hostname(said) or _PUBLIC[forge]


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _hostname(server: str) -> str:
    return (urlsplit(server if "://" in server else f"//{server}").hostname or "").lower()
