"""The gate's log on standard error: lines for people, or JSON objects for a collector."""

from __future__ import annotations

import json
import logging
import time

FORMATS = ("text", "json")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def begin(kind: str) -> None:
    """Send this process' log to standard error in one of `FORMATS`: warnings of anybody, and what the gate decides."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if kind == "json" else _Text("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("modelpack.gate").setLevel(logging.INFO)


class _Text(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class _Json(_Text):
    """One object a line: time (UTC), level, logger, message, and whatever else the record was given."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
