"""How others set the same values: each as its users would call it, on one file of the corpus.

An editor gets a case and a folder of its own, and gives the file's bytes and the seconds that it took.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import ScalarString

from modelpack.errors import ModelpackError
from modelpack.yamledit import edit
from tests.integration.servers.gotools import go_tool
from tests.integration.servers.process import MissingError, ServerError
from tests.unit.yamledit.corpus import DIGEST, IMAGE, POLICY, REPOSITORY, TAG, Case
from tests.unit.yamledit.corpus.reference import load


class RefusedError(Exception):
    """The editor did not edit the file; carries what it said."""


@dataclass(frozen=True)
class Edited:
    data: bytes
    seconds: float


@dataclass(frozen=True)
class Editor:
    """`takes` tells the files that it is made for; `missing` what a machine without it needs, "" where it is there."""

    name: str
    timed: str
    takes: Callable[[Case], bool]
    run: Callable[[Sequence[Case], Path], list[Edited | RefusedError]]
    missing: str = ""


def editors() -> list[Editor]:
    """modelpack first, then the others; one that is not here says so."""
    yq, kustomize, flux = _yq(), shutil.which("kustomize"), _setters()
    return [
        Editor("modelpack", "in process", lambda case: True, _each(_modelpack)),
        Editor("ruamel.yaml, round trip", "in process", _by_path, _each(_ruamel)),
        Editor(
            "yq (Go) -i",
            "a command",
            _by_path,
            _each(lambda case, folder: _yq_edit(yq, case, folder)),
            "" if yq else "go install github.com/mikefarah/yq/v4@v4.53.6; Debian's yq is another program",
        ),
        Editor(
            "kustomize edit set image",
            "a command",
            lambda case: bool(case.target.images) and not case.json,
            _each(lambda case, folder: _kustomize(kustomize or "", case, folder)),
            "" if kustomize else "go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1",
        ),
        Editor(
            "Flux's setters",
            "in process",
            lambda case: b"$imagepolicy" in case.data,
            lambda cases, folder: _flux(flux or "", cases, folder),
            "" if flux else "Go, to build tests/tools/flux-setters",
        ),
    ]


def _each(
    run: Callable[[Case, Path], Edited],
) -> Callable[[Sequence[Case], Path], list[Edited | RefusedError]]:
    def every(cases: Sequence[Case], folder: Path) -> list[Edited | RefusedError]:
        answers: list[Edited | RefusedError] = []
        for case in cases:
            try:
                answers.append(run(case, folder))
            except RefusedError as error:
                answers.append(error)
        return answers

    return every


def _by_path(case: Case) -> bool:
    """Whether a path into the document says it all: nothing to add, nothing inside another text."""
    return case.adds is None and not any("\n" in place.new for place in case.places)


def _modelpack(case: Case, folder: Path) -> Edited:
    started = time.perf_counter()
    try:
        after = edit(case.data, case.name, case.target, IMAGE)
    except ModelpackError as error:
        raise RefusedError(str(error)) from error
    return Edited(after, time.perf_counter() - started)


def _ruamel(case: Case, folder: Path) -> Edited:
    """With the settings that keep most: quotes as they are, no line folded, and the new value quoted as the old."""
    started = time.perf_counter()
    yaml, out = YAML(), io.BytesIO()
    yaml.preserve_quotes, yaml.width = True, 1 << 20
    try:
        documents = list(yaml.load_all(case.data))
        for place in case.places:
            holder = documents[place.document]
            for key in place.path[:-1]:
                holder = holder[key]
            old = holder[place.path[-1]]
            holder[place.path[-1]] = type(old)(place.new) if isinstance(old, ScalarString) else place.new
        yaml.dump_all(documents, out)
    except (YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise RefusedError(str(error)) from error
    return Edited(out.getvalue(), time.perf_counter() - started)


def _yq() -> str:
    """Mike Farah's yq, wherever it stands on PATH: Debian has another program of that name."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("yq", path=folder)
        if found and "mikefarah" in subprocess.run([found, "--version"], capture_output=True, text=True).stdout:
            return found
    return ""


def _yq_edit(yq: str, case: Case, folder: Path) -> Edited:
    documents, steps = load(case.data), []
    for number, place in enumerate(case.places):
        path = "".join(f'["{key}"]' if isinstance(key, str) else f"[{key}]" for key in place.path)
        kind = documents[place.document].get("kind")
        which = f'.kind == "{kind}"' if kind else ". != null"
        steps.append(f"(select({which}) | .{path}) = strenv(NEW{number})")
    new = {f"NEW{number}": place.new for number, place in enumerate(case.places)}
    return _command([yq, "-i", " | ".join(steps), case.name], case, folder / case.name, new)


def _kustomize(kustomize: str, case: Case, folder: Path) -> Edited:
    image = f"{case.target.images}={REPOSITORY}:{TAG}@{DIGEST}"
    return _command([kustomize, "edit", "set", "image", image], case, folder / "kustomization.yaml", {})


def _command(argv: list[str], case: Case, file: Path, env: dict[str, str]) -> Edited:
    file.write_bytes(case.data)
    started = time.perf_counter()
    done = subprocess.run(argv, cwd=file.parent, env=os.environ | env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    after = file.read_bytes()
    file.unlink()
    if done.returncode:
        raise RefusedError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return Edited(after, seconds)


def _setters() -> str:
    """kyaml's setters, the library that Flux's image automation is built on."""
    try:
        return str(go_tool("flux-setters"))
    except (MissingError, ServerError):
        return ""


def _flux(program: str, cases: Sequence[Case], folder: Path) -> list[Edited | RefusedError]:
    """All files in one run, as the controller does it; one that stops it is left out."""
    answers: dict[str, Edited | RefusedError] = {}
    left = {case.name: case for case in cases}
    while left:
        for case in left.values():
            (folder / case.name).write_bytes(case.data)
        started = time.perf_counter()
        done = subprocess.run(
            [program, f"{POLICY}={REPOSITORY}:{TAG}@{DIGEST}", *left], cwd=folder, capture_output=True, text=True
        )
        seconds = (time.perf_counter() - started) / len(left)
        if done.returncode:
            name = done.stderr.removeprefix("flux-setters: ").partition(":")[0]
            answers[left.pop(name).name] = RefusedError(done.stderr.strip())
            continue
        for case in left.values():
            after = (folder / case.name).read_bytes()
            answers[case.name] = RefusedError("unchanged") if after == case.data else Edited(after, seconds)
        break
    return [answers[case.name] for case in cases]
