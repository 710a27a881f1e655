"""What a run is called and makes follows from what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from modelpack.errors import NotFoundError
from modelpack.training.definition import parse
from modelpack.training.identity import code_version, next_version, rules_version
from tests.fakes import training

FOLDER = training.FOLDER


@dataclass(frozen=True)
class Tree:
    """Git objects by path."""

    files: Mapping[str, str]

    def object_at(self, path: str) -> str:
        return self.files.get(path, "")

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(sorted(path for path in self.files if path.startswith(prefix)))


FILES = {f"{FOLDER}/{name}": name for name in ("fit.py", "ask.py", "points.csv", "lib/a.py", "lib/b.py", "n.ipynb")}


def version(text: str = training.TRAINING, **changes: str) -> str:
    return code_version(parse(text.encode(), "training.yaml"), FOLDER, Tree(FILES | changes))


@pytest.mark.parametrize(
    ("code", "path", "counts"),
    [
        ("", "fit.py", True),  # what the command names
        ("", "ask.py", True),  # and what predicts
        ("", "points.csv", False),
        ("", "lib/a.py", False),
        ("code: [lib]", "lib/a.py", True),
        ("code: [lib]", "fit.py", True),
        ("code: [lib/b.py]", "lib/b.py", True),
        ("code: [lib/b.py]", "lib/a.py", False),
    ],
)
def test_code_is_the_files_that_train(code: str, path: str, counts: bool) -> None:
    text = f"{training.TRAINING}{code}\n"
    before, after = version(text), version(text, **{f"{FOLDER}/{path}": "changed"})
    assert (before != after) is counts
    assert before.startswith("sha256:") and before == version(text)


def test_a_notebook_is_code_and_must_be_there() -> None:
    text = training.TRAINING.replace("command: [python, fit.py]", "notebook: n.ipynb")
    assert version(text) != version(text, **{f"{FOLDER}/n.ipynb": "changed"})
    with pytest.raises(NotFoundError, match=r"model-images/line/training.yaml: there is no m.ipynb in its folder"):
        version(text.replace("n.ipynb", "m.ipynb"))


def test_what_trains_is_code_and_what_it_must_pass_is_not() -> None:
    assert version() != version(training.TRAINING.replace("slope: 2.0", "slope: 2.5"))
    assert version() == version(training.TRAINING.replace("limit: 0.5", "limit: 0.4"))


RULES = training.TRAINING.replace("key: [x]}", "key: [x], checks: data.yaml}").replace("-c, ", "-m, tests, ")


@pytest.mark.parametrize(
    ("before", "after", "path", "counts"),
    [
        ("limit: 0.5", "limit: 0.6", "", True),
        ("margin: 0.05", "margin: 0.06", "", True),
        ("key: [x]", "key: [x], heldout: 0.3", "", True),
        ("sys.exit(0)", "sys.exit(1)", "", True),
        ("", "", "data.yaml", True),
        ("", "", "tests/test_x.py", True),
        ("", "", "fit.py", False),
        ("", "", "points.csv", False),
        ("slope: 2.0", "slope: 2.5", "", False),
        ("timeout: 60s", "timeout: 90s", "", False),
    ],
)
def test_rules_are_what_a_run_is_held_against(before: str, after: str, path: str, counts: bool) -> None:
    assert before in RULES
    files = {f"{FOLDER}/{each}": each for each in ("data.yaml", "tests/test_x.py", "fit.py", "points.csv")}
    texts, trees = (RULES, RULES.replace(before, after)), (files, {**files, f"{FOLDER}/{path}": "changed"})
    found = [
        rules_version(parse(text.encode(), "training.yaml"), FOLDER, Tree(tree))
        for text, tree in zip(texts, trees, strict=True)
    ]
    assert (found[0] != found[1]) is counts


def test_a_file_that_moves_is_another() -> None:
    text = f"{training.TRAINING}code: [lib]\n"
    moved = {path.replace("b.py", "c.py"): name for path, name in FILES.items()}
    assert version(text) != code_version(parse(text.encode(), "t"), FOLDER, Tree(moved))


@pytest.mark.parametrize(
    ("taken", "found"),
    [((), "v1"), (("latest", "2024-06-a"), "v1"), (("v1", "v3"), "v4"), (("v9", "v10"), "v11"), (("1.4.9",), "1.4.10")],
)
def test_the_next_version_is_after_the_newest(taken: tuple[str, ...], found: str) -> None:
    assert next_version(taken) == found
