"""The rehearsal against the real Flagger: the same Canaries, the same scripted webhooks, the same changes in Git.

`record` runs them all in one Flagger on a real API server and writes what happened to `recorded/`; `replay` runs them
through `tick()`. Both give lines, and the lines have to be equal. `python -m tests.cluster.traces record` takes four
minutes.
"""
