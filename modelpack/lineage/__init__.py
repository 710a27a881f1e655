"""What is known of each version, kept beside it in the registry: evaluation, provenance, rollouts, as OCI referrers.

In: an image's digest and a record. Out: the versions of a model with what was recorded; one version's whole chain.
"""

from modelpack.lineage.catalog import Catalog, Version, catalog, version_at, versions
from modelpack.lineage.chain import Chain, Commit, Step, chain, put_together
from modelpack.lineage.origin import Origin
from modelpack.lineage.page import as_html, as_text
from modelpack.lineage.records import put_evaluation, put_provenance, put_rollout

__all__ = [
    "Catalog",
    "Chain",
    "Commit",
    "Origin",
    "Step",
    "Version",
    "as_html",
    "as_text",
    "catalog",
    "chain",
    "put_evaluation",
    "put_provenance",
    "put_rollout",
    "put_together",
    "version_at",
    "versions",
]
