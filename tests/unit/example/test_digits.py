"""The second example: a classifier with a threshold for each class, served and gated like the first."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.example import Example, needs
from tests.fakes.http import serve

DIGITS = Example("digits")
EXAMPLE, python = DIGITS.folder, DIGITS.python
GOLDEN = [json.loads(line) for line in (EXAMPLE / "golden.jsonl").read_text().splitlines()]

pytestmark = needs("sklearn", "prometheus_client", "pandas", "pandera", "scipy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of 900 images and of all, in `early` and `late`; `heldout.csv` is of all."""
    from modelpack import data, quality
    from modelpack.training.definition import parse

    folder = tmp_path_factory.mktemp("digits")
    training = parse((EXAMPLE / "training.yaml").read_bytes(), "training.yaml")
    for name, words in (("early", ("--rows", 900)), ("late", ())):
        python("data.py", folder / f"{name}.csv", *words)
        train, heldout = quality.split(data.table(folder / f"{name}.csv"), training.data.key, training.data.heldout)
        train.to_csv(folder / "train.csv", index=False)
        heldout.to_csv(folder / "heldout.csv", index=False)
        python(
            *training.train.command[1:],
            MODELPACK_DATA=str(folder / "train.csv"),
            MODELPACK_OUTPUT=str(folder / name),
            MODELPACK_METRICS=str(folder / f"{name}.json"),
            MODELPACK_PARAMETERS=json.dumps(dict(training.train.parameters)),
        )
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with DIGITS.serving(folder / "late") as found:
        yield found


def answers(folder: Path, name: str) -> list[dict[str, str]]:
    import csv

    out = folder / f"{name}-answers.csv"
    if not out.exists():
        python("predict.py", folder / name, folder / "heldout.csv", out)
    return list(csv.DictReader(out.open()))


def ask(url: str, body: Any) -> requests.Response:
    data = body if isinstance(body, str) else json.dumps(body)
    return requests.post(f"{url}/v1/models/digits:predict", data=data, timeout=10)


def test_the_examples_are_what_the_script_writes_and_no_model_learns_from_them(folder: Path, tmp_path: Path) -> None:
    python("data.py", "--examples", tmp_path)
    for name in ("golden.jsonl", "traffic.jsonl"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes()
    seen = {line.partition(",")[0] for line in (folder / "late.csv").read_text().splitlines()}
    assert not seen & {str(int(each["id"])) for each in GOLDEN}
    early, late = ((folder / f"{name}.csv").read_text() for name in ("early", "late"))
    assert late.startswith(early)


def test_more_images_are_new_data_that_passes_its_checks(folder: Path) -> None:
    from modelpack import data, quality

    checks = (EXAMPLE / "data.yaml").read_bytes()
    early, late = (data.table(folder / f"{name}.csv") for name in ("early", "late"))
    assert quality.validate(late, checks, "data.yaml", early).passed
    assert not quality.validate(late.assign(digit=late["digit"] + 1), checks, "data.yaml", early).passed


def test_the_quality_gate_shows_each_digit_and_stops_a_model_that_forgot_one(folder: Path) -> None:
    from modelpack import data, quality
    from modelpack.training.definition import parse

    training = parse((EXAMPLE / "training.yaml").read_bytes(), "training.yaml")
    table = data.table(folder / "heldout.csv")
    early, late = ([each["prediction"] for each in answers(folder, name)] for name in ("early", "late"))

    def judged(new: list[str], old: list[str]) -> Any:
        return quality.evaluate(quality.Sample(table, new, old), training.data.target, training.quality.criteria)

    better = judged(late, early)
    assert better.passed, better.reason
    groups = {(row.group, row.metric) for row in better.rows if row.group}
    assert groups == {(f"class {digit}", metric) for digit in range(10) for metric in ("precision", "recall")}
    forgot = judged(["9" if each == "4" else each for each in late], late)
    assert not forgot.passed
    assert ("class 4", "recall") in {(row.group, row.metric) for row in forgot.rows if row.verdict == "fail"}


def test_what_the_server_is_sure_of_has_the_wanted_precision_on_rows_not_seen(folder: Path) -> None:
    from modelpack import data

    truth = [str(each) for each in data.table(folder / "heldout.csv")["digit"]]
    given = answers(folder, "late")
    sure = [row["prediction"] == right for row, right in zip(given, truth, strict=True) if row["sure"] == "True"]
    every = [row["prediction"] == right for row, right in zip(given, truth, strict=True)]
    shipped = json.loads((folder / "late" / "thresholds.json").read_bytes())
    assert len(sure) > 0.5 * len(every)
    assert sum(sure) / len(sure) > max(shipped["precision"], sum(every) / len(every))
    assert all(each["least"] >= 0.9 for each in shipped["classes"].values() if each["score"] is not None)


def test_the_golden_set_of_the_gate_passes_through_the_server(url: str) -> None:
    from modelpack.gate.config import parse

    config = parse({name: (EXAMPLE / name).read_bytes() for name in ("gate.yaml", "golden.jsonl")}, "digits")
    (check,) = config.goldens
    right = [check.read_prediction(ask(url, example.request).json()) == example.expected for example in check.examples]
    assert len(right) == 100
    assert sum(right) / len(right) > check.floor


def test_an_answer_has_the_score_and_whether_the_model_is_sure(folder: Path, url: str) -> None:
    answer = ask(url, {"instances": [each["request"]["instances"][0] for each in GOLDEN]}).json()
    classes = json.loads((folder / "late" / "thresholds.json").read_bytes())["classes"]
    least = [classes[str(digit)]["score"] for digit in answer["predictions"]]
    assert answer["sure"] == [
        each is not None and score >= each for each, score in zip(least, answer["scores"], strict=True)
    ]
    assert len(set(answer["sure"])) == 2
    assert len(set(answer["ids"])) == len(GOLDEN)
    assert 'digits_requests_total{code="200"}' in requests.get(f"{url}/metrics", timeout=10).text


@pytest.mark.parametrize(
    "body",
    [
        "{",
        [],
        {"instances": []},
        {"instances": [[0] * 64]},
        {"instances": [{"pixels": [0] * 63}]},
        {"instances": [{"pixels": [17] * 64}]},
        {"instances": [{"pixels": [True] * 64}]},
        {"instances": [{"pixels": ["0"] * 64}]},
    ],
)
def test_what_is_no_image_is_refused(url: str, body: Any) -> None:
    assert ask(url, body).status_code == 400


def test_training_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    python("train.py", folder / "train.csv", tmp_path)
    for name in ("model.json", "thresholds.json"):
        assert (tmp_path / name).read_bytes() == (folder / "late" / name).read_bytes()


def test_the_gate_is_told_what_was_predicted_by_the_ids_of_the_answer(folder: Path) -> None:
    image = GOLDEN[0]["request"]["instances"][0]
    with serve(lambda request: (200, b"{}")) as gate:
        with DIGITS.serving(folder / "late", {"MODEL_FEEDBACK": gate.url}) as url:
            answer = ask(url, {"instances": [image, image]}).json()
            until = time.monotonic() + 10
            while not gate.seen and time.monotonic() < until:
                time.sleep(0.05)
        told = [each for request in gate.seen for each in json.loads(request.body)["predictions"]]
    assert gate.seen[0].path == "/api/v1/models/digits/predictions"
    assert [each["id"] for each in told] == answer["ids"]
    assert [each["prediction"] for each in told] == answer["predictions"]


def test_it_serves_without_any_other_example(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_bytes((EXAMPLE / "serve.py").read_bytes())
    with Example("digits", tmp_path).serving(folder / "late") as url:
        assert requests.get(f"{url}/healthz", timeout=10).json()["ready"]
