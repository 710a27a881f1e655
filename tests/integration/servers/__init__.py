"""Real servers for tests and benchmarks, as context managers: on free loopback ports, stopped by pid at the end.

What a machine lacks is raised as `MissingError`; the fixtures in conftest.py turn that into a skip, or a failure where
everything must run.
"""

from tests.integration.servers.process import MissingError, ServerError

__all__ = ["MissingError", "ServerError"]
