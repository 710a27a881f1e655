"""What a reconciler did about a model, or why it did nothing."""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.errors import ModelpackError


@dataclass(frozen=True)
class Outcome:
    """One line of a round. `what` is train, experiment, deploy or record; `action` a word like started, waiting,
    proposed, nothing; `run`, `commit` and `pull` (an address) are "" where they mean nothing. With an `error`, `action`
    is "failed". `notes` are what could not be looked at, often the same for many models."""

    model: str
    what: str
    action: str
    reason: str
    run: str = ""
    commit: str = ""
    pull: str = ""
    notes: tuple[str, ...] = ()
    error: ModelpackError | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing was done."""
        return self.action in ("nothing", "waiting", "held", "unchanged")


def failed(model: str, what: str, error: ModelpackError) -> Outcome:
    return Outcome(model, what, "failed", str(error), error=error)
