"""A real Kubernetes on this machine, for the tests: `python -m tests.cluster up|down|status|env`.

Everything runs inside one PID, mount and network namespace, below one supervisor: when that ends, nothing is left.
"""
