"""What IPython knows and Python does not: %, ! and ? in a cell."""

from __future__ import annotations

import ast
import re

from modelpack.notebook.document import Cell, at

# what only changes how a notebook looks or reloads: a script does well without
_IDLE = re.compile(r"\s*%{1,2}(matplotlib|config|autoreload|(re)?load_ext\s+autoreload|time|capture)\b(?P<rest>.*)")
_MAGIC = re.compile(r"\s*(%|!|\?)|.*\?\s*$|\s*[\w.,\s]+=\s*[%!]")
_PACKAGES = re.compile(r"\s*[%!]\s*(pip|pip3|conda|mamba|uv|apt|apt-get|python3? -m pip)\b")


def without_magics(cell: Cell, name: str) -> Cell:
    """A cell with idle magics as `pass`, each on its own line as before. Raises InputError for any other."""
    lines = cell.source.split("\n")
    for _ in lines:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            number = min(error.lineno or 1, len(lines))
        except (ValueError, RecursionError, MemoryError):
            break  # told by who parses it next
        else:
            break
        line = lines[number - 1]
        idle = _IDLE.match(line)
        if idle and not (idle[1] in ("time",) and not line.lstrip().startswith("%%")):
            indent = line[: len(line) - len(line.lstrip())]
            lines[number - 1] = f"{indent}pass  # {line.strip()}"
        elif _PACKAGES.match(line):
            problem = f"{line.strip()[:60]!r} changes the machine it runs on"
            raise at(name, cell, number, problem, "install it in the image, and tag this cell skip")
        elif _MAGIC.match(line):
            problem = f"{line.strip()[:60]!r} is IPython's, not Python's"
            raise at(name, cell, number, problem, "write it in Python, or tag this cell skip")
        else:
            break
    return Cell(cell.number, "\n".join(lines), cell.tags)
