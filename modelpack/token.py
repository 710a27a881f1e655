"""The token that a gate asks for, from the environment: for who approves, settles, or reads where that needs one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

TOKEN = "MODELPACK_GATE_TOKEN"  # noqa: S105 # the variable's name


def bearer(environ: Mapping[str, str] = os.environ) -> Callable[[Any], Any]:
    """An `auth` for requests. Where there is no token it adds nothing, and no login of a .netrc takes its place."""
    token = environ.get(TOKEN, "").strip()

    def add(request: Any) -> Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return add
