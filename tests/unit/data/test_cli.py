"""The `data` commands."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command import modelpack

CONFIG = "[core]\n    remote = store\n['remote \"store\"']\n    url = ../../store\n"


def test_add_show_and_fetch(tmp_path: Path) -> None:
    model = tmp_path / "repo/models/mpg"
    model.mkdir(parents=True)
    (tmp_path / "repo/.git").mkdir()
    (tmp_path / "repo/.dvc").mkdir()
    (tmp_path / "repo/.dvc/config").write_text(CONFIG)
    (model / "cars.csv").write_text("a,b\n1,2\n")
    added = modelpack("data", "add", "models/mpg/cars.csv", "--json", cwd=tmp_path / "repo")
    assert (added.code, added.err) == (0, "")
    assert (model / "cars.csv.dvc").read_text() == json.loads(added.out)["pointer"]

    assert (model / ".gitignore").read_text() == "/cars.csv\n"
    modelpack("data", "add", "models/mpg/cars.csv", cwd=tmp_path / "repo")
    assert (model / ".gitignore").read_text() == "/cars.csv\n"

    shown = modelpack("data", "show", "dvc:cars.csv.dvc", cwd=model)
    assert shown.out == "dvc:e5ebd4c02cefbe7955977c67ada242b7\n"
    fetched = modelpack("data", "fetch", "dvc:cars.csv.dvc", "../../../into", cwd=model)
    assert fetched.code == 0
    assert (tmp_path / "into/cars.csv").read_text() == "a,b\n1,2\n"

    (tmp_path / "store").rename(tmp_path / "away")
    assert "not ready" in modelpack("data", "show", "dvc:cars.csv.dvc", cwd=model).out
    assert modelpack("data", "fetch", "dvc:cars.csv.dvc", "x", cwd=model).code == 3
    assert modelpack("data", "show", "cars.csv", cwd=model).code == 2
