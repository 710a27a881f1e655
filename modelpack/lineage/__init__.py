"""What is known of each version, kept beside it in the registry: evaluation, provenance, rollouts, as OCI referrers.

In: an image's digest and a record. Out: the versions of a model with what was recorded; one version's whole chain.
"""
