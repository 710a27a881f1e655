"""Renders a commit message's template, in a process of its own: the template is somebody's, and may never end.

Run as a program: a JSON object {template, values} on stdin; on stdout {text}, or {problem, line}. It imports nothing of
this package, so that an isolated interpreter can run it wherever the package is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

LONGEST = 64 << 10  # characters of a message
CPU_SECONDS = 2
_MEMORY = 512 << 20


def render(template: str, values: Mapping[str, object]) -> str:
    """The template's text; raises jinja2.TemplateError, or whatever the template provokes."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    pieces, size = [], 0
    for piece in environment.from_string(template).generate(values):
        size += len(piece)
        if size > LONGEST:
            raise ValueError(f"its text is longer than {LONGEST} characters")
        pieces.append(piece)
    return "".join(pieces)


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    try:
        answer: dict[str, object] = {"text": render(asked["template"], asked["values"])}
    except MemoryError:
        answer = {"problem": "it takes too much memory"}
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        answer = {"problem": problem[:500], "line": getattr(error, "lineno", None)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
