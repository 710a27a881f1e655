"""The pods of a compiled pipeline as processes of this machine: their own commands and words, one after another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelpack.notebook import Pipeline
from modelpack.notebook.script import script


def run_blocks(
    pipeline: Pipeline, folder: Path, words: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Run every block's script in `folder` as the compiled objects do; gives the pipeline's results."""
    found: dict[str, float] = {}
    for block in pipeline.blocks:
        path = folder / f"{block.name}.py"
        path.write_text(script(pipeline, block))
        given = ["--into", f"left/{block.name}"]
        for each in sorted(set(block.loads.values())):
            given += ["--from", each, f"left/{each}"]
        for name in block.results:
            given += ["--result", name, f"results/{name}"]
        run([sys.executable, str(path), *given, "--", *words], folder, environ)
        found |= {name: float((folder / "results" / name).read_text()) for name in block.results}
    return found


def run(command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """Run one pod's command; RuntimeError with what it said if it fails."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environ or {})}
    done = subprocess.run(list(command), cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout
