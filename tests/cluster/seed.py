"""Stores the cluster's images in its registry: `python -m tests.cluster.seed STATE`. `up` has built and listed them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.cluster import images
from tests.cluster.layout import REGISTRY, State


def main(folder: str) -> None:
    listed = json.loads(State(Path(folder)).images.read_text())
    images.push(REGISTRY, {name: Path(layout) for name, layout in listed.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
