"""Simulates whole rollouts with a fixed seed, looked at again and again through the very functions that the gate uses.

Prints a table for each question. Run it with: python -m benchmarks.gate [--rollouts 10000] [--only yardstick …]
"""

from __future__ import annotations

import argparse
import time

from benchmarks.gate import foretold, shares, values, watched
from benchmarks.gate.table import SEED
from benchmarks.gate.traffic import INTERVALS, SLICES

TABLES = {each.__name__: each for each in (*shares.TABLES, *values.TABLES, *foretold.TABLES, *watched.TABLES)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument(
        "--only", nargs="+", choices=TABLES, default=list(TABLES), metavar="TABLE", help=", ".join(TABLES)
    )
    given = parser.parse_args()
    print(f"{given.rollouts} rollouts a cell, {INTERVALS} intervals of {SLICES} slices, alpha 5 %, seed {SEED}")
    for name in given.only:
        begun = time.process_time()
        TABLES[name](given.rollouts)
        print(f"({time.process_time() - begun:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
