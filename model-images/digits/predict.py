"""Predict with the server's own code: `python predict.py MODEL_DIR IMAGES.csv OUT.csv`.

OUT.csv has a row for each image: the `prediction`, its `score`, and whether the server would be `sure` of it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from serve import load


def main(model_folder: str, images: str, out: str) -> None:
    model = load(Path(model_folder))
    with Path(images).open(newline="") as asked, Path(out).open("w", newline="") as answers:
        rows = csv.writer(answers, lineterminator="\n")
        rows.writerow(["prediction", "score", "sure"])
        for image in csv.DictReader(asked):
            digit, score = model.predict([float(image[f"p{number:02d}"]) for number in range(64)])
            rows.writerow([digit, f"{score:.6f}", model.sure(digit, score)])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python predict.py MODEL_DIR IMAGES.csv OUT.csv")
    main(*sys.argv[1:])
