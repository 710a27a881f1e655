"""What stands at the top of every compiled block: its words, the variables of other blocks, and its own.

This file's text becomes part of each script, so it needs nothing but Python 3.8. What it unpickles was written by the
blocks before it, in the same run, by the same notebook.
"""

import argparse
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any, Dict, Iterable  # noqa: UP035


class _Modelpack:
    """`parameters` are names with their defaults, `shared` the names that every block has of its own."""

    def __init__(self, block: str, parameters: Dict[str, Any], shared: Iterable[str]) -> None:  # noqa: UP006
        parser = argparse.ArgumentParser(description=f"Block {block}.")
        parser.add_argument("--into", metavar="DIR", type=Path, default=Path(block), help="where its variables go")
        parser.add_argument("--from", dest="sources", nargs=2, action="append", default=[], metavar=("BLOCK", "DIR"))
        parser.add_argument("--result", dest="results", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
        parser.add_argument("words", nargs="*", metavar="NAME=VALUE", help=f"parameters: {', '.join(parameters)}")
        self.given = parser.parse_args()
        self.block, self.shared = block, frozenset(shared)
        self.parameters = dict(parameters)
        for word in self.given.words:
            name, _, text = word.partition("=")
            if name not in parameters:
                sys.exit(f"{block}: takes no parameter {name!r}")
            self.parameters[name] = self.value(name, text, parameters[name])
        sys.argv[1:] = []  # the notebook had none

    @staticmethod
    def value(name: str, text: str, default: Any) -> Any:
        if isinstance(default, str):
            return text
        if isinstance(default, bool):
            if text.lower() not in ("true", "false"):
                sys.exit(f"{name}: {text!r} is neither true nor false")
            return text.lower() == "true"
        for kind in (int, float) if isinstance(default, int) else (float,):
            try:
                return kind(text)
            except ValueError:
                continue
        sys.exit(f"{name}: {text!r} is no number")

    def load(self, variables: Dict[str, str], scope: Dict[str, Any]) -> None:  # noqa: UP006
        folders = dict(self.given.sources)
        for name, block in variables.items():
            folder = Path(folders.get(block, block))
            try:
                left = json.loads((folder / "variables.json").read_text())
            except OSError:
                sys.exit(f"{self.block}: block {block} left nothing in {folder}")
            if name in left:
                scope[name] = pickle.loads((folder / f"{name}.pickle").read_bytes())  # noqa: S301

    def save(self, variables: Iterable[str], scope: Dict[str, Any]) -> None:  # noqa: UP006
        into: Path = self.given.into
        into.mkdir(parents=True, exist_ok=True)
        left = [name for name in variables if name in scope]
        for name in left:
            try:
                data = self.pickled(scope[name])
            except Exception as error:
                kind = type(scope[name]).__name__
                sys.exit(f"{self.block}: {name}, a {kind}, cannot be passed to another block: {error}")
            (into / f"{name}.pickle").write_bytes(data)
        (into / "variables.json").write_text(json.dumps(left))
        for name, path in self.given.results:
            try:
                number = float(scope[name])
            except (KeyError, TypeError, ValueError):
                sys.exit(f"{self.block}: {name} is no number, so it is no metric")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(repr(number))

    def pickled(self, value: Any) -> bytes:
        """By cloudpickle where it is: what a block itself defines is not there when another one starts."""
        shared, base = self.shared, pickle.Pickler  # type: Any, Any
        for where in ("cloudpickle", "joblib.externals.cloudpickle"):
            try:
                base = __import__(where, fromlist=["Pickler"]).Pickler
                break
            except ImportError:
                continue

        class Pickler(base):  # type: ignore[misc]
            def reducer_override(self, what: Any) -> Any:
                ours = isinstance(what, (type, type(_Modelpack.save))) and what.__module__ == "__main__"
                if ours and what.__qualname__.partition(".")[0] in shared:
                    return NotImplemented  # every block has it
                above = getattr(super(), "reducer_override", None)
                return above(what) if above else NotImplemented

        file = io.BytesIO()
        Pickler(file, protocol=4).dump(value)
        return file.getvalue()
