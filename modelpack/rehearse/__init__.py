"""A rollout on one machine: a repository's Deployment and Canary, two real servers, a real Envoy, the real gate.

In: a repository's tip, image references, a state folder that stands for the cluster. Out: an `Outcome` and a report.
`tick` decides as Flagger 1.44 does and touches nothing; `session` carries out what it says. The gate is asked by HTTP.
"""
