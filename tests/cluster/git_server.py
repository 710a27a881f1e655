"""The cluster's Git server: `python -m tests.cluster.git_server FOLDER ADDRESS PORT`. Every NAME.git exists, empty."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.integration.servers.git_http import git_http


def main(folder: str, address: str, port: str) -> None:
    with git_http(Path(folder), address=address, port=int(port), every=True):
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
