"""`data.yaml`: what a table must be before anything is trained on it.

apiVersion: modelpack.dev/v1
kind: DataChecks
rows: {least: 100}
duplicates: {key: [id], most: 0.0}
columns:
- {name: mpg, type: number, low: 5, high: 60}
- {name: origin, type: text, values: [usa, europe, japan], drift: false}
- {name: horsepower, type: number, missing: 0.05}
extra: false
drift: {psi: 0.25, alarms: 0.01, stops: true}
"""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.definition import API_VERSION
from modelpack.fields import Fields, read

TYPES = ("number", "integer", "text", "boolean", "time")


@dataclass(frozen=True)
class Drift:
    """When a column counts as drifted: its PSI is above `psi`, and a test tells the difference from chance, at a
    probability of `alarms` for the whole table. `stops`: a drifted table fails; else it is said only."""

    psi: float = 0.25
    alarms: float = 0.01
    stops: bool = True


@dataclass(frozen=True)
class Column:
    """What a column must hold. `kind` is one of TYPES, "" for any; `missing` the largest share of missing values;
    `values` are texts; a `psi` of None leaves the column out of the drift checks."""

    name: str
    kind: str = ""
    required: bool = True
    missing: float = 0.0
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    unique: bool = False
    psi: float | None = Drift.psi


@dataclass(frozen=True)
class Checks:
    """A parsed data.yaml. `key` are the columns by which rows count as duplicates, all of them if it is empty;
    `duplicates` is their largest share, None for any; `extra`: columns that it does not name may be there."""

    columns: tuple[Column, ...] = ()
    rows: int = 1
    key: tuple[str, ...] = ()
    duplicates: float | None = None
    extra: bool = True
    drift: Drift = Drift()


def parse(data: bytes, name: str) -> Checks:
    """Read a data.yaml's bytes; `name` is what messages call it. Raises InputError with file and line."""
    fields = read(data, name)
    fields.choice("apiVersion", [API_VERSION])
    fields.choice("kind", ["DataChecks"])
    fields.skip("metadata")
    rows, duplicates = fields.mapping("rows"), fields.mapping("duplicates")
    drift = _drift(fields.mapping("drift"))
    columns: list[Column] = []
    for each in fields.mappings("columns"):
        column = _column(each, drift)
        if column.name in (other.name for other in columns):
            raise each.error("name", f"there is a second column {column.name!r}")
        columns.append(column)
    checks = Checks(
        columns=tuple(columns),
        rows=rows.integer("least", 1, low=1),
        key=duplicates.texts("key"),
        duplicates=duplicates.number("most", 0.0, low=0.0, high=1.0) if "duplicates" in fields else None,
        extra=fields.flag("extra"),
        drift=drift,
    )
    for part in (rows, duplicates, fields):
        part.done()
    if not columns and not checks.extra:
        raise fields.error("columns", "are missing, and extra columns are not allowed", "name them, or set extra: true")
    return checks


def _column(fields: Fields, drift: Drift) -> Column:
    kind = fields.choice("type", TYPES, "")
    nullable = fields.flag("nullable")
    column = Column(
        name=fields.text("name"),
        kind=kind,
        required=fields.flag("required", True),
        missing=fields.number("missing", 1.0 if nullable else 0.0, low=0.0, high=1.0),
        low=fields.number("low") if "low" in fields else None,
        high=fields.number("high") if "high" in fields else None,
        values=fields.texts("values"),
        unique=fields.flag("unique"),
        psi=_psi(fields, drift.psi),
    )
    for each in ("low", "high"):
        if each in fields and kind not in ("number", "integer"):
            raise fields.error(each, "is a bound for numbers", "add type: number")
    if column.low is not None and column.high is not None and column.low > column.high:
        raise fields.error("low", f"{column.low:g} is above high, {column.high:g}")
    fields.done()
    return column


def _psi(fields: Fields, default: float) -> float | None:
    if fields.is_text("drift"):
        return default if fields.flag("drift", True) else None
    own = fields.mapping("drift")
    psi = own.number("psi", default, low=0.0)
    own.done()
    return psi


def _drift(fields: Fields) -> Drift:
    drift = Drift(
        psi=fields.number("psi", Drift.psi, low=0.0),
        alarms=fields.number("alarms", Drift.alarms, low=1e-9, high=0.5),
        stops=fields.flag("stops", Drift.stops),
    )
    fields.done()
    return drift
