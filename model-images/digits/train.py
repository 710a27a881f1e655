"""Train the digit classifier, and calibrate from which score on each digit is to be believed.

A training run gives $MODELPACK_DATA, $MODELPACK_OUTPUT, $MODELPACK_METRICS and $MODELPACK_PARAMETERS. By hand:

    python train.py digits.csv artifacts/v1

Writes model.json (multinomial logistic regression: a row of weights for each digit) and thresholds.json. Thresholds
come from scores of images that the model which scored them had not learned from (five folds). Nothing is random.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from modelpack.quality import thresholds

DIGITS = 7  # of a weight: beyond them, linear algebra libraries differ from machine to machine
DEFAULTS = {"strength": 1.0, "precision": 0.9}


def read(file: Path) -> tuple[Any, Any]:
    """Pixels from 0 to 1, and digits."""
    with file.open(newline="") as table:
        rows = list(csv.DictReader(table))
    pixels = [[float(row[f"p{number:02d}"]) / 16 for number in range(64)] for row in rows]
    return np.array(pixels), np.array([int(row["digit"]) for row in rows])


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def train(data: Path, output: Path, metrics: Path | None, parameters: dict[str, Any]) -> None:
    wanted = {**DEFAULTS, **parameters}
    pixels, digits = read(data)
    model = LogisticRegression(C=1 / wanted["strength"], max_iter=2000)
    shares = cross_val_predict(model, pixels, digits, cv=StratifiedKFold(5), method="predict_proba")
    model.fit(pixels, digits)
    predicted, scores = model.classes_[shares.argmax(axis=1)], shares.max(axis=1)
    found = thresholds.calibrate(digits.tolist(), predicted.tolist(), scores.tolist(), wanted["precision"])
    document = {
        "classes": [int(digit) for digit in model.classes_],
        "intercepts": [rounded(value) for value in model.intercept_],
        "weights": [[rounded(value) for value in row] for row in model.coef_],
    }
    sure = np.array([found.sure(digit, score) for digit, score in zip(predicted, scores, strict=True)])
    right = predicted == digits
    measured = {
        "accuracy": round(float(right.mean()), 4),
        "sure": round(float(sure.mean()), 4),
        "accuracy of sure": round(float(right[sure].mean()), 4) if sure.any() else 0.0,
        "images": len(digits),
    }
    output.mkdir(parents=True, exist_ok=True)
    write(output / "model.json", document)
    write(output / "thresholds.json", thresholds.to_json(found))
    write(output / "metadata.json", {"folds": measured})
    if metrics:
        write(metrics, measured)
    print(", ".join(f"{name} {value}" for name, value in measured.items()))


def write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document) + "\n")


def main() -> None:
    given = [os.environ.get(f"MODELPACK_{name}", "") for name in ("DATA", "OUTPUT", "METRICS")]
    if len(sys.argv) == 3:
        given = [*sys.argv[1:], ""]
    if not all(given[:2]):
        sys.exit("usage: python train.py DIGITS.csv MODEL_DIR")
    parameters = json.loads(os.environ.get("MODELPACK_PARAMETERS", "{}"))
    train(Path(given[0]), Path(given[1]), Path(given[2]) if given[2] else None, parameters)


if __name__ == "__main__":
    main()
