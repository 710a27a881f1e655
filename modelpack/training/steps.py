"""The steps of a run in their order, and what becomes of a run by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from modelpack.errors import InputError, ModelpackError, RefusedError, RemoteError
from modelpack.fields import nearest
from modelpack.training.checks import test, validate
from modelpack.training.compare import compare
from modelpack.training.context import Context
from modelpack.training.evaluate import evaluate
from modelpack.training.fetch import fetch
from modelpack.training.folder import Folder, write_json
from modelpack.training.package import notebook_of, package
from modelpack.training.run import Result, Seen, State
from modelpack.training.train import train

Step = Callable[[Context], Result | None]

STEPS: Mapping[str, Step] = {
    "fetch": fetch,
    "validate": validate,
    "test": test,
    "train": train,
    "evaluate": evaluate,
    "package": package,
    "compare": compare,
}
KINDS: Mapping[str, tuple[str, ...]] = {
    "train": ("fetch", "validate", "test", "train", "evaluate", "package"),
    "experiment": ("fetch", "validate", "test", "compare"),
}
"""The steps of a run by its kind."""
ALL = "all"


def parse(names: Sequence[str], kind: str = "train") -> tuple[tuple[str, ...], bool]:
    """The steps that these words mean, in the order given, and whether those that are done may be left out; raises
    InputError for a word that is no step."""
    for name in names:
        if name not in STEPS and name != ALL:
            near = nearest(name, [*STEPS, ALL])
            remedy = f"did you mean {near}?" if near else f"known: {', '.join(STEPS)}, {ALL}"
            raise InputError(name, "is not a step", remedy)
    if ALL in names:
        if kind not in KINDS:
            raise InputError(kind, "is no kind of run", f"known: {', '.join(KINDS)}")
        return KINDS[kind], True
    return tuple(names), False


def run_steps(names: Sequence[str], context: Context, *, resume: bool = False) -> Seen:
    """Do these steps, one after another, and keep how the run stands; `resume` leaves out what is done already.

    A step after one that was not passed does nothing, but for `package`, which records an evaluation. Raises what a
    step raises, after it is kept.
    """
    folder = context.folder
    began, done = folder.began() or context.clock(), folder.done()
    try:
        for name in names:
            if (resume and name in done) or _skipped(name, folder):
                context.say(f"--- {name}: {'done before' if name in done else 'left out'}")
                continue
            context.say(f"--- {name}")
            result = _do(name, context)
            done = [*(each for each in done if each != name), name]
            write_json(folder.steps, {"started": began, "done": done})
            now = context.clock()
            if result is not None:
                where = result.notebook or (notebook_of(context) if name != "fetch" else "")
                seen = Seen(State.SUCCEEDED, result.reason, began, now, replace(result, notebook=where))
            else:
                seen = Seen(State.RUNNING, name, began)
            folder.put_seen(seen)
    except ModelpackError as error:
        failed = Seen(State.FAILED, str(error), began, context.clock(), retryable=isinstance(error, RemoteError))
        folder.put_seen(failed)
        raise
    return folder.seen() or Seen(State.RUNNING, "", began)


def _do(name: str, context: Context) -> Result | None:
    try:
        return STEPS[name](context)
    except OSError as error:
        where = error.filename or context.folder.path
        raise RemoteError(
            where, f"the step {name} failed: {error.strerror or error}", "make room and try again"
        ) from error


def check_passed(seen: Seen) -> None:
    """Raise RefusedError for a run that has come to an end with a model that may not go on."""
    if seen.result is not None and not seen.result.passed:
        raise RefusedError("the candidate", seen.result.reason or "did not pass")


def _skipped(name: str, folder: Folder) -> bool:
    seen = folder.seen()
    ended = seen is not None and seen.result is not None and not seen.result.passed
    return ended and not (name == "package" and folder.evaluation.exists())
