"""A real Gitea with a few people in it, on sqlite, over HTTP only."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.integration.servers.gotools import go_tools
from tests.integration.servers.process import ServerError, free_port, program, running

OWNER, ROBOT, REVIEWER = "alice", "robot", "bob"
"""Alice owns the projects (and may do everything), the robot and Bob may push to them."""

PAGE = 5
"""So many items it answers at once, however many are asked for: nobody needs to make fifty to see a second page."""

PASSWORD = "open-sesame"
_SECONDS = 60
_CONFIG = """\
RUN_MODE = prod
WORK_PATH = {folder}
[server]
PROTOCOL = http
HTTP_ADDR = {host}
HTTP_PORT = {port}
ROOT_URL = http://{host}:{port}{below}/
LOCAL_ROOT_URL = http://{host}:{port}{below}/
USE_SUB_URL_PATH = {is_below}
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = only-for-tests
PASSWORD_HASH_ALGO = pbkdf2_v1
[service]
DISABLE_REGISTRATION = true
[repository]
ROOT = {folder}/repositories
DEFAULT_BRANCH = main
[log]
MODE = console
LEVEL = Info
[queue]
TYPE = channel
[indexer]
ISSUE_INDEXER_TYPE = db
[api]
MAX_RESPONSE_ITEMS = {page}
[cron]
ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
"""


@dataclass(frozen=True)
class Project:
    """A repository, and what people do to it behind the back of whoever is tested. `url` is what Git clones."""

    server: Gitea
    path: str

    @property
    def url(self) -> str:
        return f"{self.server.url}/{self.path}.git"

    def with_login(self, user: str = ROBOT) -> str:
        """The URL with user and token in it."""
        return self.url.replace("http://", f"http://{user}:{self.server.tokens[user]}@", 1)

    def api(self, method: str, path: str, json: object = None, user: str = OWNER) -> Any:
        """Ask the API below /repos/OWNER/NAME as somebody; the parsed answer, None if it is empty."""
        return self.server.api(method, f"/repos/{self.path}{path}", json, user)

    def protect(
        self, branch: str = "main", *, approvals: int = 0, checks: Sequence[str] = (), merge: Sequence[str] = (ROBOT,)
    ) -> None:
        """Nobody pushes to it; a merge, by those named and its owner, wants approvals and successful checks."""
        rule = {"rule_name": branch, "enable_push": False, "required_approvals": approvals}
        rule |= {"enable_status_check": bool(checks), "status_check_contexts": list(checks)}
        rule |= {"enable_merge_whitelist": True, "merge_whitelist_usernames": [OWNER, *merge]}
        self.api("POST", "/branch_protections", rule)

    def pulls(self) -> list[dict[str, Any]]:
        """All pull requests, the newest first."""
        found: list[dict[str, Any]] = []
        while page := self.api("GET", f"/pulls?state=all&page={len(found) // PAGE + 1}"):
            found += page
            if len(page) < PAGE:
                break
        return found

    def pull(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.api("GET", f"/pulls/{number}")
        return found

    def approve(self, number: int, user: str = REVIEWER) -> None:
        self.api("POST", f"/pulls/{number}/reviews", {"event": "APPROVED", "body": "fine"}, user)

    def close(self, number: int, user: str = REVIEWER) -> None:
        self.api("PATCH", f"/pulls/{number}", {"state": "closed"}, user)

    def reopen(self, number: int, user: str = REVIEWER) -> None:
        self.api("PATCH", f"/pulls/{number}", {"state": "open"}, user)

    def merge(self, number: int, user: str = OWNER, how: str = "merge") -> None:
        """`how`: merge, rebase or squash. Gitea looks for conflicts in its own time, and merges nothing before."""
        until = time.monotonic() + _SECONDS
        while not self.pull(number)["mergeable"] and time.monotonic() < until:
            time.sleep(0.1)
        self.api("POST", f"/pulls/{number}/merge", {"Do": how, "delete_branch_after_merge": False}, user)

    def delete_branch(self, name: str) -> None:
        self.api("DELETE", f"/branches/{name}")

    def head(self, branch: str = "main") -> str:
        return str(self.api("GET", f"/branches/{branch}")["commit"]["id"])

    def check(self, commit: str, state: str = "success", name: str = "ci") -> None:
        """Report a check: pending, success, error or failure."""
        self.api("POST", f"/statuses/{commit}", {"context": name, "state": state})

    def put(
        self, path: str, text: str, branch: str = "main", *, start: str = "", user: str = OWNER, old: str = ""
    ) -> None:
        """A person's commit of one file. `start`: make the branch from this one; `old`: its blob, if it is there."""
        body = {"content": base64.b64encode(text.encode()).decode(), "message": f"Write {path}"}
        body |= {"branch": start, "new_branch": branch} if start else {"branch": branch}
        self.api("PUT" if old else "POST", f"/contents/{path}", {**body, "sha": old} if old else body, user)

    def overwrite(self, path: str, text: str, branch: str = "main", user: str = OWNER) -> None:
        """A person's change of a file that is there."""
        self.put(path, text, branch, user=user, old=self.api("GET", f"/contents/{path}?ref={branch}")["sha"])


@dataclass(frozen=True)
class Gitea:
    """`url` without a slash at its end; `tokens` of all users, which are good for the API and for Git."""

    url: str
    tokens: Mapping[str, str]

    def api(self, method: str, path: str, json: object = None, user: str = OWNER) -> Any:
        """Ask the API as somebody; the parsed answer, None if it is empty. Raises for anything but success."""
        headers = {"Authorization": f"token {self.tokens[user]}"}
        answer = requests.request(method, f"{self.url}/api/v1{path}", json=json, headers=headers, timeout=_SECONDS)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json() if answer.content else None

    def create(self, name: str, files: Mapping[str, str] | None = None, *, organization: str = "") -> Project:
        """A project of Alice's (or an organization's, made if need be) with the branch main, holding these files."""
        if organization and organization not in (each["username"] for each in self.api("GET", "/user/orgs")):
            self.api("POST", "/orgs", {"username": organization})
        where = f"/orgs/{organization}/repos" if organization else "/user/repos"
        self.api("POST", where, {"name": name, "default_branch": "main", "auto_init": not files})
        project = Project(self, f"{organization or OWNER}/{name}")
        if files:
            whole = [
                {"operation": "create", "path": path, "content": base64.b64encode(text.encode()).decode()}
                for path, text in files.items()
            ]
            project.api("POST", "/contents", {"branch": "main", "message": "First", "files": whole})
        for user in (ROBOT, REVIEWER):
            project.api("PUT", f"/collaborators/{user}", {"permission": "write"})
        return project


@contextmanager
def gitea(folder: Path, *, below: str = "", host: str = "127.0.0.1") -> Iterator[Gitea]:
    """A Gitea that keeps everything in `folder`; with `below` ("/git") it is reached in that subfolder of its host,
    which is the address it listens on."""
    program("git", "apt-get install git")
    tools = go_tools("gitea")
    folder.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), folder / "app.ini"
    values = {
        "page": PAGE,
        "folder": folder,
        "host": host,
        "port": port,
        "below": below,
        "is_below": str(bool(below)).lower(),
    }
    config.write_text(_CONFIG.format(static=tools / "static", **values))
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GITEA_", "GIT_"))}
    env |= {"GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true", "GITEA_WORK_DIR": str(folder), "HOME": str(folder)}
    command = [str(tools / "gitea"), "--config", str(config)]

    _run([*command, "migrate"], env)
    tokens = {}
    for user in (OWNER, ROBOT, REVIEWER):
        who = ["--username", user, "--password", PASSWORD, "--email", f"{user}@example.com"]
        rights = ["--access-token", "--access-token-scopes", "all", "--must-change-password=false"]
        rights += ["--admin"] if user == OWNER else []
        said = _run([*command, "admin", "user", "create", *who, *rights], env)
        token = re.search(r"\b[0-9a-f]{40}\b", said)
        if not token:
            raise ServerError(f"Gitea gives no token: {said}")
        tokens[user] = token[0]
    url = f"http://{host}:{port}{below}"
    with running([*command, "web"], folder / "gitea.log", lambda _: _answers(url), env=env):
        yield Gitea(url, tokens)


def _run(command: Sequence[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise ServerError(f"{command[3:]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/api/healthz", timeout=2).ok
    except requests.RequestException:
        return False
