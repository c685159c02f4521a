"""The daemon's log: structured lines on standard error, and never a secret in them."""

import logging
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog

from vtpmd.api.text import printable

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]

# A value under one of these keys is withheld whatever its type: a net under the rule that no
# caller passes a secret to a logger at all.
SECRET_KEYS = frozenset(
    {"dek", "kek", "key", "secret", "seed", "auth", "password", "token", "credential", "wrapped"}
)

EventDict = MutableMapping[str, Any]

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
"""Level -> priority of syslog(3), by which journalctl(1) selects: `journalctl -p warning`."""


class _Printer(structlog.PrintLogger):
    """Prints lines; one that cannot be written is lost and hinders nothing."""

    def msg(self, message: str) -> None:
        """Print a line."""
        with suppress(OSError):  # a full disk, or nobody who reads
            super().msg(message)

    debug = info = warning = error = exception = msg


def configure(
    level: LogLevel = "info", format: LogFormat = "json", stream: TextIO | None = None
) -> None:
    """Set up logging of the whole process; `stream` is standard error unless given."""
    stream = stream or sys.stderr
    renderer: structlog.typing.Processor
    if format == "json":
        renderer = structlog.processors.JSONRenderer(default=str)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: frames without the values of their variables.
    processors += [structlog.processors.format_exc_info, withhold_secrets]
    if format == "console":  # JSON has an escape of its own for what is not to be printed
        processors.append(escape)
    if is_journal(stream):
        renderer = _with_priority(renderer)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_: _Printer(stream),
        cache_logger_on_first_use=False,
    )


def is_journal(stream: TextIO) -> bool:
    """Whether lines go to the journal, as systemd says in $JOURNAL_STREAM."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _with_priority(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """Put the priority in front of every line, as sd-daemon(3) says; the journal takes it off."""

    def render(logger: Any, method: str, event: EventDict) -> str:
        prefix = f"<{PRIORITIES.get(str(event.get('level')), PRIORITIES['info'])}>"
        lines = str(renderer(logger, method, event)).splitlines()
        return "\n".join(f"{prefix}{line}" for line in lines)

    return render


def get_logger(component: str) -> Any:
    """A logger whose lines carry `component`; events are constant words, details are fields."""
    return structlog.get_logger(component=component)


def escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Make text that may come from a worker, a file or a client safe to print.

    The lines of a traceback are indented: none of them passes for a line of the log.
    """
    return {
        printable(key): "\n  ".join(map(printable, value.splitlines()))
        if key == "exception" and isinstance(value, str)
        else _escaped(value)
        for key, value in event.items()
    }


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_escaped(name): _escaped(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value


def withhold_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace bytes, and everything under a key that names a secret, by its kind."""
    return {key: _withheld(key, value) for key, value in event.items()}


def _withheld(key: str, value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if key.lower() in SECRET_KEYS:
        return "<withheld>"
    if isinstance(value, dict):
        return {name: _withheld(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_withheld(key, item) for item in value]
    return value
