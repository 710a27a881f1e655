"""How results are printed."""

from __future__ import annotations

SEED = 20261122


def header(text: str) -> None:
    print(f"\n{text}", flush=True)


def row(*cells: object) -> None:
    first, *rest = cells
    print(f"{first!s:<33}" + "".join(f"{cell!s:>19}" for cell in rest), flush=True)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"
