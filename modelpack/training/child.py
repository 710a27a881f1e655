"""A program of the project's own, run with what it needs and none of our credentials.

It stays in our process group, which is ended as a whole by whoever ends the run. It runs as the same user: files that
this user may read, it may read. Code that nobody trusts belongs into a Job.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelpack.errors import InputError, NotFoundError

_KEPT = re.compile(
    r"PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH|PYTHONPATH|PYTHONHASHSEED|JUPYTER_PATH"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|NVIDIA_VISIBLE_DEVICES|NVIDIA_DRIVER_CAPABILITIES"
    r"|(?:CUDA|OMP|MKL|OPENBLAS|NUMEXPR)_[A-Z_]+"
)


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """What a child is told: how to find programs and devices, a home of its own, and `extra`. No logins."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if _KEPT.fullmatch(key)}
    # `python` is the one that modelpack runs in: that has what a run needs
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "HOME": str(home), "PYTHONUNBUFFERED": "1", **extra}


def run(words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command to its end; its output goes where ours goes. Gives its exit code, negative for a signal.

    Raises NotFoundError where there is no such program.
    """
    program = shutil.which(words[0], path=env.get("PATH")) or str(cwd / words[0])
    if not os.access(program, os.X_OK) or Path(program).is_dir():
        raise NotFoundError(words[0], "there is no such program here", "install it in the run's image, or name another")
    sys.stdout.flush()
    try:
        child = subprocess.Popen([program, *words[1:]], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL)
    except OSError as error:
        raise InputError(" ".join(words), f"cannot be started: {error.strerror}") from error
    try:
        return child.wait()
    except BaseException:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
        raise


def how(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"was killed by {name}" + (", out of memory perhaps" if name == "SIGKILL" else "")
    return f"was killed by signal {-code}"
