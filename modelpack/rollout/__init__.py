"""Flagger's objects: the Canary as it stands in Git, its phases and status, and the checksums that go with them.

In: bytes of YAML. Out: frozen values. Nothing here talks to a cluster. Behaviour is that of Flagger 1.44.
"""

from modelpack.rollout.canary import Canary, Header, Webhook, find_canary
from modelpack.rollout.status import Phase, Status, template_hash

__all__ = ["Canary", "Header", "Phase", "Status", "Webhook", "find_canary", "template_hash"]
