"""How much `modelpack build --push` grows with the model: `python -m benchmarks.memory [--size 4GiB]`"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import model
from benchmarks.measure import MIB, Cost, run, table
from benchmarks.push import in_bytes
from tests.integration.servers.registry import registry

LIMIT = 64 * MIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=in_bytes, default="4GiB", help="of the model (sparse files), 4GiB unless told")
    size: int = parser.parse_args().size
    work = Path(tempfile.mkdtemp(prefix="modelpack-memory-"))
    try:
        shapes = [("one byte", 1, 1), ("one file", size, 1), ("four files", size, 4)]
        costs = [_cost(work / name.replace(" ", "-"), total, shards) for name, total, shards in shapes]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    growth = [each.rss - costs[0].rss for each in costs]
    rows = [
        (
            name,
            f"{total / MIB:.0f}",
            f"{cost.rss / MIB:.0f}",
            f"{more / MIB:+.0f}",
            f"{cost.disk / MIB:.1f}",
            f"{cost.wall:.1f}",
        )
        for (name, total, _), cost, more in zip(shapes, costs, growth, strict=True)
    ]
    print(table(("model", "MiB", "peak RSS MiB", "growth", "temporary MiB", "wall s"), rows))
    kept = max(growth) <= LIMIT
    print(f"limit of growth: {LIMIT // MIB} MiB, {'kept' if kept else 'NOT KEPT'}")
    return int(not kept)


def _cost(folder: Path, size: int, shards: int) -> Cost:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    model.make(folder / "model", size, shards, sparse=True)
    with registry(folder / "registry", v3=True) as server:
        cost = run(model.build_and_push(folder / "model", server.address), scratch, env=model.environment(scratch))
    shutil.rmtree(folder)
    return cost


if __name__ == "__main__":
    sys.exit(main())
