"""GitLab as its documentation tells: one project, `acme/serving/models`, which does what quick actions say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.described import Reply, Request, paged

_PROJECT, _FORK = 7, 8
_USERS = {"robot": 1, "bob": 2, "carol": 3}
_ACTION = re.compile(r"^/(\w+)(?: .*)?$", re.MULTILINE)
_MENTION = re.compile(r"(?<!\w)@(\w[\w.-]*)")


@dataclass
class GitLab:
    """`actions`: the quick actions that texts had in them; `pipeline` is every merge request's: "" for none."""

    name: str = "gitlab"
    prefix: str = "/api/v4"
    tokens: Mapping[str, str] = field(default_factory=lambda: {"good-token": "robot"})
    merges: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    status: str = "mergeable"
    pipeline: str = "running"
    preparing: int = 0  # so many looks find GitLab still preparing a merge request
    may_merge: bool = True

    def answer(self, request: Request) -> Reply:
        if request.names.get("project") not in (None, str(_PROJECT), "acme/serving/models"):
            return Reply(404, {"message": "404 Project Not Found"})
        one = "/projects/{project}/merge_requests/{number}"
        answers = {
            "GET /user": lambda _: Reply(200, user("robot")),
            "GET /users": lambda each: Reply(
                200, [user(name) for name in _USERS if name == each.query["username"].lower()]
            ),
            "GET /projects/{project}": lambda _: Reply(
                200, {"id": _PROJECT, "path_with_namespace": "acme/serving/models"}
            ),
            "GET /projects/{project}/merge_requests": self._list,
            "POST /projects/{project}/merge_requests": self._create,
            f"GET {one}": self._look,
            f"PUT {one}": self._change,
            f"PUT {one}/merge": self._merge,
            f"GET {one}/notes": lambda each: paged(
                each, self.notes, f"{self.prefix}/projects/7/merge_requests/1/notes"
            ),
            f"POST {one}/notes": self._note,
            f"PUT {one}/notes/{{note}}": self._rewrite,
        }
        return answers[request.operation](request)

    # what people do, and what they see

    def add(self, branch: str, *, fork: bool = False, state: str = "opened") -> None:
        self.merges.append(self._made(branch, "main", "theirs", "", fork=fork))
        self.merges[-1]["state"] = state

    def say(self, name: str, body: str, *, system: bool = False) -> None:
        self.notes.append({"id": len(self.notes) + 1, "body": self._act(body), "author": user(name), "system": system})

    def pinged(self) -> list[str]:
        texts = [each["description"] for each in self.merges] + [each["body"] for each in self.notes]
        return [name for text in texts for name in _MENTION.findall(text)]

    # the answers

    def _act(self, text: str) -> str:
        self.actions += _ACTION.findall(text)
        return _ACTION.sub("", text)

    def _list(self, request: Request) -> Reply:
        found = [each for each in self.merges if each["source_branch"] == request.query["source_branch"]]
        return paged(request, found[::-1], f"{self.prefix}/projects/7/merge_requests")

    def _create(self, request: Request) -> Reply:
        branch, base = request.body["source_branch"], request.body["target_branch"]
        there = [each for each in self.merges if each["source_branch"] == branch and each["target_branch"] == base]
        opened = [each for each in there if each["state"] == "opened" and each["source_project_id"] == _PROJECT]
        if opened:
            text = f"Another open merge request already exists for this source branch: !{opened[0]['iid']}"
            return Reply(409, {"message": [text]})
        self.merges.append(self._made(branch, base, request.body["title"], self._act(request.body["description"])))
        return Reply(201, self.merges[-1])

    def _look(self, request: Request) -> Reply:
        merge = self._one(request)
        if merge is None:
            return Reply(404, {"message": "404 Not found"})
        self.preparing -= 1
        if self.preparing >= 0:  # first it is not prepared, then only not checked
            unfinished = {"prepared_at": None} if self.preparing else {"detailed_merge_status": "checking"}
            return Reply(200, {**merge, **unfinished, "head_pipeline": None})
        pipeline = {"id": 1, "status": self.pipeline} if self.pipeline else None
        return Reply(200, {**merge, "detailed_merge_status": self.status, "head_pipeline": pipeline})

    def _change(self, request: Request) -> Reply:
        merge, wanted = self._one(request) or {}, request.body
        if "description" in wanted:
            merge |= {"title": wanted["title"], "description": self._act(wanted["description"])}
        merge["labels"] += [
            each for each in wanted.get("add_labels", "").split(",") if each and each not in merge["labels"]
        ]
        if "reviewer_ids" in wanted:
            merge["reviewers"] = [user(name) for name, number in _USERS.items() if number in wanted["reviewer_ids"]]
        return Reply(200, merge)

    def _merge(self, request: Request) -> Reply:
        merge = self._one(request) or {}
        if not self.may_merge:
            return Reply(401, {"message": "401 Unauthorized"})
        if merge["state"] != "opened" or self.status in ("conflict", "draft_status") or self.preparing >= 0:
            return Reply(405, {"message": "405 Method Not Allowed"})
        if request.body["sha"] != merge["sha"]:
            return Reply(409, {"message": "SHA does not match HEAD of source branch"})
        if self.pipeline in ("running", "pending", "created") or self.status == "not_approved":
            merge["merge_when_pipeline_succeeds"] = True
        else:
            merge["state"] = "merged"  # whatever became of its pipeline
        return Reply(200, merge)

    def _note(self, request: Request) -> Reply:
        self.say("robot", request.body["body"])
        return Reply(201, self.notes[-1])

    def _rewrite(self, request: Request) -> Reply:
        note = self.notes[int(request.names["note"]) - 1]
        note["body"] = self._act(request.body["body"])
        return Reply(200, note)

    def _one(self, request: Request) -> dict[str, Any] | None:
        number = int(request.names["number"])
        return self.merges[number - 1] if number <= len(self.merges) else None

    def _made(self, branch: str, base: str, title: str, text: str, *, fork: bool = False) -> dict[str, Any]:
        number = len(self.merges) + 1
        return {
            "id": 100 + number, "iid": number, "title": title, "description": text, "state": "opened",
            "source_branch": branch, "target_branch": base, "source_project_id": _FORK if fork else _PROJECT,
            "target_project_id": _PROJECT, "sha": f"{number:040x}", "author": user("robot"), "labels": [],
            "reviewers": [],
            "web_url": f"https://gitlab.example/acme/serving/models/-/merge_requests/{number}",
            "merge_when_pipeline_succeeds": False, "prepared_at": "2026-01-01T00:00:00Z",
            "detailed_merge_status": self.status,
        }  # fmt: skip


def user(name: str) -> dict[str, Any]:
    return {"id": _USERS[name], "username": name}
