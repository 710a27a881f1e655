"""Train the fuel economy model: nine versions, seven of them with mistakes that real training jobs make.

    python train.py [VERSION ...] [--out DIR]      writes DIR/VERSION/{model.json,metadata.json}
    python train.py --examples DIR                 writes DIR/golden.jsonl and DIR/traffic.jsonl

v1  a plain linear model
v2  squares and products of the columns, ridge regression: clearly better on cars it has not seen
v3  the recipe of v2, fitted to kilometres per litre where miles per gallon are served: fast, never an error, and wrong
v4  the recipe of v2, fitted to an export that lost the Japanese cars: as good as v2 on the golden set, which has none
    of them either, and unable to answer for a fifth of the traffic
v5  the recipe of v2, with the European cars alone in kilometres per litre: the golden set says where it is wrong
v6  the same mistake with the Japanese cars, of which the golden set has none: predictions move, and nothing fails
v7  the Japanese cars in miles per imperial gallon, a smaller mistake: only the true values tell
v8  cubes too, and for European cars the median of a committee, one fit for each of 1,200 penalties: as good, slow for
    them
v9  v2 with its coefficients rounded to one digit, to be small: another model than the one that was tested

The errors it prints are in miles per gallon and by the server's own code; the jobs that made the mistakes did not look.
Data: the `cars.json` of vega_datasets (the auto-mpg data, 1970-1982). Nothing is random: every fourth car is held out,
and coefficients are rounded, so the same data gives the same bytes; v8 has too many of them for that to hold between
two linear algebra libraries.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from serve import NUMBERS, load

KM_PER_LITRE = 0.425144  # of one mile per (US) gallon
PER_IMPERIAL_GALLON = 1.200950  # miles, of one mile per US gallon
MEMBERS = 1200  # of a committee: well over 50 ms for an answer
DIGITS = 9  # of a coefficient: beyond them, linear algebra libraries differ from machine to machine

Car = dict[str, Any]  # "car" (the request's instance), "name", "mpg"


@dataclass(frozen=True)
class Recipe:
    degree: int
    unit: float = 1.0  # what the target is multiplied by; 1 is right
    of: str = ""  # the origin whose cars are in that unit, "" for all
    keep: Callable[[Car], bool] = lambda car: True
    committee: str = ""  # the origin that a committee answers for
    digits: int = DIGITS


RECIPES = {
    "v1": Recipe(degree=1),
    "v2": Recipe(degree=2),
    "v3": Recipe(degree=2, unit=KM_PER_LITRE),
    "v4": Recipe(degree=2, keep=lambda car: car["car"]["origin"] != "japan"),
    "v5": Recipe(degree=2, unit=KM_PER_LITRE, of="europe"),
    "v6": Recipe(degree=2, unit=KM_PER_LITRE, of="japan"),
    "v7": Recipe(degree=2, unit=PER_IMPERIAL_GALLON, of="japan"),
    "v8": Recipe(degree=3, committee="europe"),
    "v9": Recipe(degree=2, digits=1),
}


def read_cars() -> list[Car]:
    """Every car whose fuel economy and horsepower are known, in the data's order."""
    package = find_spec("vega_datasets")  # found, not imported: that would import pandas for a second
    if package is None or not package.origin:
        sys.exit("the data is missing: pip install vega_datasets")
    rows = json.loads((Path(package.origin).parent / "_data" / "cars.json").read_bytes())
    columns = ("Cylinders", "Displacement", "Horsepower", "Weight_in_lbs", "Acceleration")
    return [
        {
            "name": row["Name"],
            "mpg": row["Miles_per_Gallon"],
            "car": {
                **dict(zip(NUMBERS, [row[column] for column in columns], strict=False)),
                "year": int(row["Year"][:4]),
                "origin": row["Origin"].lower(),
            },
        }
        for row in rows
        if row["Miles_per_Gallon"] is not None and row["Horsepower"] is not None
    ]


def fit(recipe: Recipe, cars: list[Car]) -> dict[str, Any]:
    """Fit one recipe and export it as the document that serve.Model reads."""
    import numpy as np
    from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    kept = [car for car in cars if recipe.keep(car)]
    origins = sorted({car["car"]["origin"] for car in kept})
    columns = [
        [car["car"][name] for name in NUMBERS] + [float(car["car"]["origin"] == origin) for origin in origins]
        for car in kept
    ]
    scaler = StandardScaler().fit(columns)
    powers = PolynomialFeatures(recipe.degree, include_bias=False)
    terms = powers.fit_transform(scaler.transform(columns))
    model = LinearRegression() if recipe.degree == 1 else RidgeCV(np.logspace(-2, 3, 21))
    target = np.array([car["mpg"] * (recipe.unit if recipe.of in ("", car["car"]["origin"]) else 1) for car in kept])
    model.fit(terms, target)
    document = {
        "numbers": list(NUMBERS),
        "origins": origins,
        "means": [rounded(value) for value in scaler.mean_],
        "scales": [rounded(value) for value in scaler.scale_],
        "intercept": rounded(model.intercept_, recipe.digits),
        "terms": [
            {"coefficient": rounded(value, recipe.digits), "columns": columns_of(row)}
            for value, row in zip(model.coef_, powers.powers_.tolist(), strict=True)
        ],
    }
    if recipe.committee:
        penalties = model.alpha_ * np.geomspace(0.1, 10, MEMBERS)
        members = Ridge(penalties).fit(terms, np.tile(target[:, np.newaxis], MEMBERS))
        document["committee"] = {
            recipe.committee: [
                [rounded(value) for value in (intercept, *own)]
                for intercept, *own in np.column_stack((members.intercept_, members.coef_)).tolist()
            ]
        }
    return document


def columns_of(powers: list[int]) -> list[int]:
    return [i for i, power in enumerate(powers) for _ in range(power)]


def rounded(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")


def evaluate(folder: Path, cars: list[Car]) -> dict[str, float | int]:
    """Errors of an exported model, in miles per gallon, on cars it has not seen; `unanswered` are those it fails on."""
    model, errors = load(folder), []
    for car in cars:
        try:
            errors.append(model.predict(car["car"]) - car["mpg"])
        except KeyError:
            continue
    return {
        "cars": len(cars),
        "unanswered": len(cars) - len(errors),
        "mae": round(sum(map(abs, errors)) / len(errors), 3),
        "rmse": round(math.sqrt(sum(error**2 for error in errors) / len(errors)), 3),
    }


def train(version: str, out: Path) -> None:
    cars = read_cars()
    folder = out / version
    folder.mkdir(parents=True, exist_ok=True)
    seen, unseen = [car for i, car in enumerate(cars) if i % 4], cars[::4]
    write(folder / "model.json", fit(RECIPES[version], seen))
    metrics = evaluate(folder, unseen)
    write(folder / "metadata.json", {"version": version, "trained on": len(seen), "held out": metrics})
    print(
        "{}  held out: MAE {mae:6.3f}  RMSE {rmse:6.3f} mpg, {unanswered} of {cars} unanswered".format(
            version, **metrics
        )
    )


def golden(cars: list[Car]) -> Iterable[dict[str, Any]]:
    """The held-out cars, gathered before the first Japanese one was sold here."""
    for number, car in enumerate(cars[::4]):
        if car["car"]["origin"] != "japan":
            yield {
                "id": f"{number:02d}-{car['name'].replace(' ', '-')}",
                "request": {"instances": [car["car"]]},
                "expected": car["mpg"],
                "segment": car["car"]["origin"],
            }


def traffic(cars: list[Car]) -> Iterable[dict[str, Any]]:
    """Every car once, in steps that mix the years and makers: the data is sorted by them."""
    for i in range(len(cars)):
        car = cars[i * 151 % len(cars)]
        yield {
            "method": "POST",
            "path": "/v1/models/mpg:predict",
            "body": {"instances": [car["car"]]},
            "expected": car["mpg"],
        }


def write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the fuel economy model.")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "artifacts")
    parser.add_argument("--examples", type=Path, metavar="DIR", help="write golden.jsonl and traffic.jsonl instead")
    args = parser.parse_args()
    if unknown := set(args.versions) - set(RECIPES):
        parser.error(f"{', '.join(sorted(unknown))} is not a version; known: {', '.join(RECIPES)}")
    if args.examples:
        for name, lines in (("golden", golden(read_cars())), ("traffic", traffic(read_cars()))):
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
            (args.examples / f"{name}.jsonl").write_text(text)
        return
    for version in args.versions or RECIPES:
        train(version, args.out)


if __name__ == "__main__":
    main()
