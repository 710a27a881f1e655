"""Write the training data as a table, and the examples of the gate and of the traffic.

    python data.py digits.csv                all images but the golden ones
    python data.py digits.csv --rows 900     what had been labelled by an earlier day
    python data.py --examples DIR            writes DIR/golden.jsonl and DIR/traffic.jsonl

Written again with more rows it is new data: earlier rows stay as they are. Data: scikit-learn's digits, 8 x 8 pixels of
0 to 16 (a part of the Optical Recognition of Handwritten Digits of the UCI repository). Every 18th image is golden: no
model learns from it.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GOLDEN = 18
PIXELS = tuple(f"p{number:02d}" for number in range(64))


def images() -> list[tuple[int, list[int], int]]:
    """Number, pixels and digit of every image, in the data's order."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return [
        (number, [int(value) for value in pixels], int(digit))
        for number, (pixels, digit) in enumerate(zip(found.data, found.target, strict=True))
    ]


def write(file: Path, rows: int | None) -> int:
    """Write the first rows, all if None; gives their number."""
    kept = [image for image in images() if image[0] % GOLDEN][:rows]
    with file.open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["id", *PIXELS, "digit"])
        table.writerows([number, *pixels, digit] for number, pixels, digit in kept)
    return len(kept)


def golden() -> Iterable[dict[str, Any]]:
    for number, pixels, digit in images():
        if number % GOLDEN == 0:
            request = {"instances": [{"pixels": pixels}]}
            yield {"id": f"{number:04d}", "request": request, "expected": digit, "segment": str(digit)}


def traffic() -> Iterable[dict[str, Any]]:
    for _, pixels, _ in images()[::7]:
        yield {"method": "POST", "path": "/v1/models/digits:predict", "body": {"instances": [{"pixels": pixels}]}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the training data as a table.")
    parser.add_argument("file", type=Path, nargs="?", default=Path("digits.csv"), metavar="FILE.csv")
    parser.add_argument("--rows", type=int, metavar="N", help="the first N rows  [default: all]")
    parser.add_argument("--examples", type=Path, metavar="DIR", help="write golden.jsonl and traffic.jsonl instead")
    args = parser.parse_args()
    if args.examples:
        for name, lines in (("golden", golden()), ("traffic", traffic())):
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            (args.examples / f"{name}.jsonl").write_text(text)
        return
    print(f"{args.file}: {write(args.file, args.rows)} images")


if __name__ == "__main__":
    main()
