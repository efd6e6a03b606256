"""The log: one JSON object a line on standard error. It names requests and keys, never a key, a photo or a query."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

access = logging.getLogger("placewise.service.access")
"""One event for each request; ``extra`` holds its fields under ``fields``."""

events = logging.getLogger("placewise.service")
"""Everything else that an operator wants to know."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, event, and the record's own fields."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()}
        document |= getattr(record, "fields", {})
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


def configure() -> None:
    """Send the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("placewise", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True
