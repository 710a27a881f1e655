"""Environments of model.yaml: which there are, and in which repository and on which branch each of them stands."""

from __future__ import annotations

from pathlib import Path

from modelpack.definition import Definition, Environment
from modelpack.errors import NotFoundError
from modelpack.fields import nearest


def environment_of(definition: Definition, name: str, file: str) -> Environment:
    """The environment called `name`; `file` is the model.yaml's path. Raises NotFoundError that says what there is."""
    known = {each.name: each for each in definition.environments}
    if name in known:
        return known[name]
    if not known:
        remedy = "write environments in the place of targets, each with a name and its targets or repository"
        raise NotFoundError(f"environment {name}", f"{file} names no environments", remedy)
    near = nearest(name, known)
    there = f"did you mean {near}?" if near else f"known there: {', '.join(known)}"
    raise NotFoundError(f"environment {name}", f"{file} does not name it", there)


def home_of(environment: Environment, repo: str, branch: str) -> tuple[str, str]:
    """The location and the branch with an environment's files; `repo` and `branch` are those of the model.yaml.

    A relative path starts at the repository that names it, as long as that is a folder.
    """
    location = environment.repository or repo
    if environment.repository and _is_path(location) and Path(repo).is_dir():
        location = str((Path(repo) / location).resolve())
    return location, environment.branch or branch


def name_there(definition: Definition, environment: Environment) -> str:
    """What a model.yaml in an environment's repository calls it: the same, or "", where its targets are meant."""
    names = [each.name for each in definition.environments]
    return environment.name if not environment.repository or environment.name in names else ""


def _is_path(location: str) -> bool:
    return ":" not in location.split("/")[0]
