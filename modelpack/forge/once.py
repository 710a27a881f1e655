"""What is to be there once, however often it is asked for: an open pull request of a branch, a comment with a mark."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from modelpack.errors import RefusedError
from modelpack.forge.http import Api
from modelpack.forge.pull import Pull, State
from modelpack.forge.text import harmless


def standing(pulls: Iterable[Pull], base: str) -> Pull | None:
    """The open one to a base; the first, should there be two."""
    found = (each for each in pulls if each.state is State.OPEN and each.base == base)
    return min(found, key=lambda pull: pull.number, default=None)


def opened(
    api: Api,
    path: str,
    wanted: Mapping[str, str],
    look: Callable[[], Pull | None],
    read: Callable[[object], Pull],
    *,
    there: Collection[int] = (409, 422),
) -> Pull:
    """Open a pull request, or give the one that `look` finds where the forge says by a status in `there` that there is
    one, or where its answer got lost. Those statuses mean other things too, which are raised."""

    def post() -> Pull:
        answer = api.ask("POST", path, dict(wanted), accept=there)
        if answer.status not in there:
            return read(answer.data)
        found = look()
        if found is None:
            raise api.error(answer)
        return found

    return api.surely(post, look)


def still_open(pull: Pull) -> Pull:
    """The pull request that was just rewritten; raises RefusedError if somebody ended it meanwhile."""
    if pull.state is not State.OPEN:
        raise RefusedError(pull.url, f"it is {pull.state.value} meanwhile", "run the command again")
    return pull


def commented(
    api: Api,
    listed: str,
    query: Mapping[str, str | int],
    body: str,
    mark: str,
    is_ours: Callable[[object], bool],
    rewrite: Callable[[object, Mapping[str, str]], object],
) -> object:
    """The comment with a mark, written or rewritten, as the forge gives it. `listed` is where comments are."""
    text = harmless(body if mark in body else f"{body}\n\n{mark}")

    def look() -> object | None:
        comments = api.pages(listed, query)
        return next((each for each in comments if mark in api.whole(each, "body") and is_ours(each)), None)

    def post() -> object:
        return api.ask("POST", listed, {"body": text}).data

    there = look()
    if there is None:
        there = api.surely(post, look)
    return there if api.whole(there, "body") == text else rewrite(there, {"body": text})
