"""The mpg example's training: two notebooks that run, a table that grows, and what the quality gate says of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.example import Example, needs

MPG = Example("mpg")
EXAMPLE, python = MPG.folder, MPG.python
NOTEBOOKS = ("production", "experimental")

pytestmark = needs(
    "sklearn", "vega_datasets", "prometheus_client", "papermill", "nbconvert", "pandas", "pandera", "scipy"
)


def cars(folder: Path, until: int) -> Path:
    file = folder / f"cars-{until}.csv"
    python("data.py", file, "--until", until)
    return file


@dataclass(frozen=True)
class Trained:
    """Models by notebook and year, and the rows of 1982 that none of them has learned from."""

    folder: Path
    heldout: Path

    def predictions(self, name: str) -> list[str]:
        from modelpack import quality

        out = self.folder / f"{name}.csv"
        if not out.exists():
            python("predict.py", self.folder / name, self.heldout, out)
        return quality.predictions(out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from modelpack import data, notebook, quality
    from modelpack.training.definition import parse

    folder = tmp_path_factory.mktemp("trained")
    settings = parse((EXAMPLE / "training.yaml").read_bytes(), "training.yaml").data
    for name, year in (("production", 1975), ("production", 1982), ("experimental", 1982)):
        train, heldout = quality.split(data.table(cars(folder, year)), settings.key, settings.heldout)
        train.to_csv(folder / "train.csv", index=False)
        heldout.to_csv(folder / "heldout.csv", index=False)
        out = f"{name}-{year}"
        notebook.execute(
            EXAMPLE / f"{name}.ipynb",
            {"data": str(folder / "train.csv"), "output": str(folder / out), "metrics": str(folder / f"{out}.json")},
            out=folder / f"{out}.ipynb",
            html=folder / f"{out}.html",
            cwd=EXAMPLE,
            timeout=300,
            env={"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
        )
    return Trained(folder, folder / "heldout.csv")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_valid_without_outputs_and_make_a_pipeline(name: str) -> None:
    import nbformat

    from modelpack import notebook

    data = (EXAMPLE / f"{name}.ipynb").read_bytes()
    found = nbformat.reads(data.decode(), as_version=4)
    nbformat.validate(found)
    assert not any(cell.get("outputs") for cell in found.cells)
    pipeline = notebook.parse(data, f"{name}.ipynb")
    assert [block.name for block in pipeline.blocks] == ["load", "features", "fit", "export"]
    assert {"data", "output", "metrics"} <= {each.name for each in pipeline.parameters}


def test_what_a_notebook_writes_is_what_it_measured_and_what_the_server_takes(trained: Trained) -> None:
    for name, worst in (("production-1982", 2.8), ("experimental-1982", 2.3)):
        measured = json.loads((trained.folder / f"{name}.json").read_bytes())
        assert measured["cars"] == json.loads((trained.folder / name / "metadata.json").read_bytes())["trained on"]
        assert 1 < measured["mae"] < worst
        assert all(5 < float(each) < 60 for each in trained.predictions(name))


@pytest.mark.parametrize(
    ("new", "old", "passed"),
    [
        ("production-1982", "production-1975", True),  # more data
        ("production-1975", "production-1982", False),
        ("experimental-1982", "production-1982", True),  # a better pipeline
        ("production-1982", "experimental-1982", False),
        ("production-1982", "", True),  # the first of all
    ],
)
def test_the_quality_gate_tells_them_apart(trained: Trained, new: str, old: str, passed: bool) -> None:
    from modelpack import data, quality
    from modelpack.training.definition import parse

    training = parse((EXAMPLE / "training.yaml").read_bytes(), "training.yaml")
    before = trained.predictions(old) if old else None
    found = quality.evaluate(
        quality.Sample(data.table(trained.heldout), trained.predictions(new), before),
        training.data.target,
        training.quality.criteria,
        segments=training.quality.segments,
    )
    assert found.passed == passed, found.reason


def test_an_origin_that_the_model_has_never_seen_is_no_answer(trained: Trained, tmp_path: Path) -> None:
    lines = trained.heldout.read_text().splitlines()
    (tmp_path / "asked.csv").write_text("\n".join([lines[0], lines[1].replace("usa", "mars"), lines[2]]) + "\n")
    python("predict.py", trained.folder / "production-1982", tmp_path / "asked.csv", tmp_path / "out.csv")
    answers = (tmp_path / "out.csv").read_text().splitlines()
    assert (answers[1] in ("", '""'), len(answers)) == (True, 3)


def test_the_data_grows_passes_its_checks_and_mistakes_are_seen(tmp_path: Path) -> None:
    from modelpack import data, quality

    checks = (EXAMPLE / "data.yaml").read_bytes()
    before, text = None, ""
    for year in (1975, 1977, 1979, 1982):
        file = cars(tmp_path, year)
        assert file.read_text().startswith(text)
        now, text = data.table(file), file.read_text()
        found = quality.validate(now, checks, "data.yaml", before)
        assert found.passed, found.reason
        before = now
    assert before is not None
    kilometres = before.assign(mpg=before["mpg"] * 0.425144)
    lost = before[before["origin"] != "japan"]
    assert not quality.validate(kilometres, checks, "data.yaml", before).passed
    assert not quality.validate(lost, checks, "data.yaml", before).passed


def test_the_projects_own_test_passes() -> None:
    python("-m", "unittest", "-q", "check_model")
