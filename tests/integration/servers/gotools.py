"""Programs in Go at the versions that tests/tools/*/go.mod pins, built once, into a cache outside the checkout.

One folder may pin several. `python -m tests.integration.servers.gotools` builds all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock

from tests.integration.servers.process import MissingError, ServerError

TOOLS = Path(__file__).parents[2] / "tools"
BUILD_SECONDS = 3600
# what else of a module is kept beside its programs: the kinds it serves
_DEFINITIONS = {
    "contour": ("github.com/projectcontour/contour", "examples/contour/01-crds.yaml"),
    "flagger": ("github.com/fluxcd/flagger", "artifacts/flagger/crd.yaml"),
    "flux-kustomize": ("github.com/fluxcd/kustomize-controller", "config/crd/bases/*.yaml"),
    "flux-source": ("github.com/fluxcd/source-controller", "config/crd/bases/*.yaml"),
    "kserve": ("github.com/kserve/kserve", "config/crd/full/*.yaml"),
    "tekton": ("github.com/tektoncd/pipeline", "config/300-crds/*.yaml"),
}
# and the folders it reads at run time, with their places, below `static`
_STATIC = {"gitea": ("code.gitea.io/gitea", "templates", "options")}
# Prometheus finds its targets in two dozen places, of which one is wanted: the others need not be compiled
_TAGS = {"gitea": "sqlite,sqlite_unlock_notify", "prometheus": "remove_all_sd,enable_kubernetes_sd"}

# Tekton puts one of its programs into every container of a run, whether or not that has a C library
_WITHOUT_C = ("tekton",)


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "modelpack-tests" / "bin"


def go_tool(folder: str, program: str = "") -> Path:
    """A program that tests/tools/FOLDER pins, by default the one of the same name; built if this is the first time.

    Its neighbours lie beside it. Raises MissingError without Go, ServerError if the build fails.
    """
    return go_tools(folder) / (program or folder)


def go_tools(folder: str) -> Path:
    """The folder with all programs that tests/tools/FOLDER pins; CustomResourceDefinitions are below `crd`, what the
    programs read at run time below `static`.

    Raises MissingError without Go, ServerError if the build fails.
    """
    source = TOOLS / folder
    pins = (source / "go.mod").read_text()
    flags = _ldflags(pins)
    own = [each.read_text() for each in sorted(source.glob("*.go"))]
    of = (pins, (source / "go.sum").read_text(), flags, *_DEFINITIONS.get(folder, ()), *_STATIC.get(folder, ()), *own)
    of = (*of, *(each for each in _WITHOUT_C if each == folder))
    pinned = hashlib.sha256("\0".join(of).encode()).hexdigest()
    built = cache() / f"{folder}-{pinned[:16]}"
    if built.is_dir():
        return built
    go = _program(folder)
    built.parent.mkdir(parents=True, exist_ok=True)
    # one lock for all: a build uses every core, and several at once more memory than a small machine has
    with FileLock(built.parent / "build.lock"):
        if not built.is_dir():
            _build(go, source, flags, built)
    return built


def go_module(folder: str, module: str) -> Path:
    """The sources of a module that tests/tools/FOLDER pins; fetched if they are not here.

    Raises MissingError without Go, ServerError if they cannot be had.
    """
    return _module(_program(folder), TOOLS / folder, module)


def _program(folder: str) -> str:
    go = shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/go/bin")
    if not go:
        raise MissingError(f"{folder} ({folder}/go.mod)", "Go 1.21 or later from https://go.dev/dl")
    return go


def _ldflags(pins: str) -> str:
    """Without symbols; Kubernetes with its version, without which kubectl and Flagger refuse the server."""
    words = ["-s", "-w"]
    if found := re.search(r"^\s*github\.com/prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)", pins, re.MULTILINE):
        # its module of 3.5.1 is called v0.305.1
        words.append(f"-X github.com/prometheus/common/version.Version={found[1]}.{int(found[2])}.{found[3]}")
    if found := re.search(r"^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)", pins, re.MULTILINE):
        values = {"gitVersion": found[1], "gitMajor": found[2], "gitMinor": found[3]}
        words += [f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items()]
    return " ".join(words)


def _build(go: str, source: Path, flags: str, built: Path) -> None:
    unfinished = built.with_name(f".{built.name}.{os.getpid()}")
    try:
        options = ("-buildvcs=false", "-mod=readonly", f"-ldflags={flags}", f"-tags={_TAGS.get(source.name, '')}")
        _go(go, source, "build", *options, "-o", f"{unfinished}/", "tool")
        if source.name in _DEFINITIONS:
            module, files = _DEFINITIONS[source.name]
            (unfinished / "crd").mkdir()
            for each in _module(go, source, module).glob(files):
                (unfinished / "crd" / each.name).write_bytes(each.read_bytes())
        if source.name in _STATIC:
            module, *folders = _STATIC[source.name]
            origin = _module(go, source, module)
            for each in (found for folder in folders for found in (origin / folder).rglob("*") if found.is_file()):
                kept = unfinished / "static" / each.relative_to(origin)
                kept.parent.mkdir(parents=True, exist_ok=True)  # not copytree: a module's folders are read-only
                kept.write_bytes(each.read_bytes())
        unfinished.replace(built)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _module(go: str, source: Path, module: str) -> Path:
    return Path(json.loads(_go(go, source, "mod", "download", "-json", module))["Dir"])


def _go(go: str, source: Path, *words: str) -> str:
    env = {**os.environ, **({"CGO_ENABLED": "0"} if source.name in _WITHOUT_C else {})}
    done = subprocess.run([go, *words], cwd=source, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if done.returncode:
        raise ServerError(f"go {words[0]} in {source.name} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def _build_all() -> None:
    for folder in sorted(each.parent.name for each in TOOLS.glob("*/go.mod")):
        started = time.monotonic()
        print(f"{folder}: ", end="", file=sys.stderr, flush=True)
        built = go_tools(folder)
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        print(built)


if __name__ == "__main__":
    _build_all()
