"""Flagger's objects: the Canary as it stands in Git or runs in a cluster, its phases and status.

In: bytes of YAML, or an API server's objects. Out: frozen values. `cluster` alone talks to anybody, and only reads.
Behaviour is that of Flagger 1.44.
"""

from modelpack.rollout.canary import Canary, Header, Webhook, find_canary, read_canary
from modelpack.rollout.status import UNDER_WAY, Phase, Status, template_hash

__all__ = ["UNDER_WAY", "Canary", "Header", "Phase", "Status", "Webhook", "find_canary", "read_canary", "template_hash"]
