"""The operator: watches ModelSync objects in a cluster, asks their needsSync, starts PipelineRuns and removes old ones.

In: watches by kopf, answers over HTTP. Out: status patches, PipelineRuns. What to do is decided in `reconcile`; nothing
here outlives a restart, and an object that did not change costs no call to the API server.
"""
