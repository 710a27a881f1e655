"""Which of several operators acts: the holder of a Lease, as Kubernetes' own controllers agree on it.

A Lease and not kopf's peering: writing it is compare-and-swap, so two never hold it, and operators of the same priority
do not pause one another. Others' clocks are not trusted: a holder is gone when its Lease did not change for as long as
it lasts by our own clock (client-go's leaderelection). One call every `RENEW` seconds, however many objects there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from modelpack.errors import ModelpackError
from modelpack.operator.api import Api, ConflictError

LASTS, RENEW = 30.0, 8.0  # seconds
_MARGIN = 10.0  # seconds that a holder stops before others may take over: longer than a call can take
_log = logging.getLogger(__name__)


@dataclass
class Lease:
    """`clock` is monotonic, in seconds."""

    api: Api
    namespace: str
    name: str
    identity: str
    clock: Callable[[], float]
    executor: Executor
    changed: Callable[[], None] = lambda: None
    _until: float = 0.0
    _seen: tuple[Any, ...] = ()
    _since: float = 0.0
    _told: bool = field(default=False)

    def held(self) -> bool:
        return self.clock() < self._until - _MARGIN

    async def keep(self) -> None:
        """Take it when it is free, renew it while it is ours, for ever."""
        while True:
            await self._turn()
            if self.held() is not self._told:
                self._told = self.held()
                _log.info("%s the lease %s/%s", "holds" if self._told else "waits for", self.namespace, self.name)
                self.changed()
            await asyncio.sleep(RENEW)

    async def release(self) -> None:
        """Let another one take over at once."""
        if self.held():
            self._until = 0.0
            await self._turn(release=True)

    async def _turn(self, *, release: bool = False) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self.executor, self._step, release)
        except ConflictError:
            _log.debug("another one wrote the lease")
        except ModelpackError as error:
            _log.warning("lease: %s", error)

    def _step(self, release: bool) -> None:
        asked = self.clock()
        lease = self.api.lease(self.namespace, self.name)
        spec = dict((lease or {}).get("spec") or {})
        holder = str(spec.get("holderIdentity") or "")
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._since = seen, asked
        lasts = float(spec.get("leaseDurationSeconds") or LASTS)
        if holder not in ("", self.identity) and asked - self._since < lasts:
            self._until = 0.0
            return
        if release and holder != self.identity:
            return
        wanted = _written(lease, self.namespace, self.name, "" if release else self.identity, holder)
        self.api.write_lease(self.namespace, self.name, wanted, new=lease is None)
        self._until = 0.0 if release else asked + LASTS


def _written(lease: Mapping[str, Any] | None, namespace: str, name: str, identity: str, before: str) -> dict[str, Any]:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = dict((lease or {}).get("spec") or {})
    spec |= {"holderIdentity": identity, "leaseDurationSeconds": int(LASTS), "renewTime": now}
    if identity != before:
        spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
    metadata = {"name": name, "namespace": namespace, **((lease or {}).get("metadata") or {})}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
