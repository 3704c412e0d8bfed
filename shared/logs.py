"""Log lines as JSON, made of an allowlist of keys: no bodies, names, addresses or queries."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from fastapi.telemetry import TelemetryConfig

ALLOWED = frozenset(
    {
        *("time", "level", "event", "service", "version", "request_id", "trace_id"),
        *("organization_id", "actor_id", "client_id", "operation", "status", "duration_ms"),
        *("code", "object_id", "attempt", "error_type", "place", "count"),
    }
)

# What the framework would export by itself names people and quotes values; and it looks for a
# receiver at every request.
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def keep_allowed(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> Mapping[str, Any] | str | bytes | bytearray | tuple[Any, ...]:
    """Drop every key that is not on the list, so that nothing confided can slip into a log."""
    return {key: value for key, value in line.items() if key in ALLOWED}


def configure(*, service: str, level: str) -> None:
    """Send this process's log lines to standard output, each tagged with the service."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            keep_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
