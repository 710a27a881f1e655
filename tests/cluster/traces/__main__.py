"""`python -m tests.cluster.traces record` writes recorded/ anew; names after it restrict it to some specs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.cluster.traces.files import load, save
from tests.cluster.traces.record import flagger_version, record
from tests.cluster.traces.specs import SPECS


def main(command: str = "", *names: str) -> None:
    if command != "record":
        raise SystemExit(__doc__)
    chosen = {spec.name: spec for spec in SPECS if not names or spec.name in names}
    with tempfile.TemporaryDirectory(prefix="traces-") as folder:
        for name, lines in record(chosen, Path(folder)).items():
            print(f"{name}: {'the same' if load(name) == lines else 'changed'}, {lines[-1]}")
            save(name, flagger_version(), lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
