"""A round: every model of the tip is looked at, and each loop takes one step. Any number of rounds does no harm.

One model, or one loop, that cannot go on stops no other: its error is an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

from modelpack import gitops
from modelpack.errors import ModelpackError
from modelpack.lineage import Version
from modelpack.reconcile.deploy import DEPLOY, Request, deploy, open_place, outdated
from modelpack.reconcile.experiment import EXPERIMENT, compare
from modelpack.reconcile.look import Rooms, Subject, look, subjects
from modelpack.reconcile.outcome import Outcome, failed
from modelpack.reconcile.recorder import RECORD, record
from modelpack.reconcile.state import Memory
from modelpack.reconcile.train import Runs, train
from modelpack.reconcile.trainer import TRAIN

LOOPS = (TRAIN, EXPERIMENT, DEPLOY, RECORD)


def reconcile_once(
    rooms: Rooms,
    memory: Memory,
    models: Sequence[str] = (),
    only: Collection[str] = LOOPS,
    request: Request | None = None,
) -> Iterator[Outcome]:
    """One round over the models with a training.yaml, or those named; each step is told once it is taken.

    Raises NotFoundError for a model that is not there, RemoteError if the repository cannot be reached.
    """
    with gitops.open_repository(rooms.location, rooms.branch) as repository:
        for name, found in subjects(repository, models):
            if isinstance(found, ModelpackError):
                yield failed(name, "read", found)
            else:
                yield from _Round(found, repository, rooms, memory, only, request).steps()


class _Round:
    """One model in one round."""

    def __init__(
        self,
        subject: Subject,
        repository: gitops.Repository,
        rooms: Rooms,
        memory: Memory,
        only: Collection[str],
        request: Request | None,
    ) -> None:
        self._subject = subject
        self._repository = repository
        self._rooms = rooms
        self._memory = memory
        self._only = only
        self._request = request

    def steps(self) -> Iterator[Outcome]:
        steps = {
            TRAIN: (self._watch, self._train),
            EXPERIMENT: (self._experiment,),
            DEPLOY: (self._deploy,),
            RECORD: (self._record,),
        }
        for what in LOOPS:
            if what in self._only:
                yield from self._safely(what, steps[what])

    def _safely(self, what: str, steps: Sequence[Callable[[], Iterator[Outcome]]]) -> Iterator[Outcome]:
        try:
            for step in steps:
                yield from step()
        except ModelpackError as error:
            yield failed(self._subject.name, what, error)

    @property
    def _runs(self) -> Runs:
        return Runs(self._subject, self._memory, self._rooms)

    @cached_property
    def _versions(self) -> tuple[Version, ...]:
        """What the registry has, read once runs were watched: one that ended has put its version there."""
        return self._rooms.versions(self._subject)

    def _watch(self) -> Iterator[Outcome]:
        yield from self._runs.watch()

    def _train(self) -> Iterator[Outcome]:
        attempts = [each.attempt for each in self._runs.known()]
        late = outdated(self._subject, self._repository, self._rooms, self._versions)
        seen = look(self._subject, self._repository, self._rooms, self._versions, attempts, late)
        yield train(self._subject, self._repository, seen, self._memory, self._rooms)
        yield from self._runs.collect()

    def _experiment(self) -> Iterator[Outcome]:
        if not self._subject.training.propose_experiment:
            return
        if TRAIN not in self._only:
            yield from self._watch()
        attempts = [each.attempt for each in self._runs.known()]
        yield compare(self._subject, self._repository, attempts, self._memory, self._rooms)

    def _deploy(self) -> Iterator[Outcome]:
        with open_place(self._subject, self._repository, self._rooms) as place:
            yield deploy(self._subject, place, self._versions, self._rooms, self._memory, self._request)

    def _record(self) -> Iterator[Outcome]:
        yield from record(self._subject, self._repository, self._memory, self._rooms)
