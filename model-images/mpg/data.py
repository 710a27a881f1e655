"""Write the training data as a table, as much of it as there was by the end of a year.

    python data.py cars.csv                  all cars, 1970 to 1982
    python data.py cars.csv --until 1977     what a model could learn from early in 1978

Writing it again with a later year is new data: the rows of the years before stay as they are. Data: the `cars.json` of
vega_datasets (the auto-mpg data); cars whose fuel economy or horsepower nobody knows are left out.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from serve import NUMBERS
from train import read_cars

COLUMNS = ("name", *NUMBERS, "origin", "mpg")


def write(file: Path, until: int) -> int:
    """Write the cars of all years up to `until`; gives their number."""
    cars = [car for car in read_cars() if car["car"]["year"] <= until]
    with file.open("w", newline="") as out:
        rows = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        rows.writeheader()
        rows.writerows({"name": car["name"], **car["car"], "mpg": car["mpg"]} for car in cars)
    return len(cars)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the training data as a table.")
    parser.add_argument("file", type=Path, metavar="FILE.csv")
    parser.add_argument("--until", type=int, default=1982, metavar="YEAR", help="the last model year  [default: 1982]")
    args = parser.parse_args()
    print(f"{args.file}: {write(args.file, args.until)} cars up to {args.until}")


if __name__ == "__main__":
    main()
