"""Predict with the server's own code: `python predict.py MODEL_DIR CARS.csv OUT.csv`.

OUT.csv has a column `prediction`, miles per gallon, and a row for each car; empty where the model cannot answer, as for
an origin that it has never seen.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from serve import load


def main(model_folder: str, cars: str, out: str) -> None:
    model = load(Path(model_folder))
    with Path(cars).open(newline="") as asked, Path(out).open("w", newline="") as answers:
        rows = csv.writer(answers, lineterminator="\n")
        rows.writerow(["prediction"])
        for car in csv.DictReader(asked):
            try:
                rows.writerow([model.predict(car)])
            except (KeyError, ValueError):
                rows.writerow([""])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python predict.py MODEL_DIR CARS.csv OUT.csv")
    main(*sys.argv[1:])
