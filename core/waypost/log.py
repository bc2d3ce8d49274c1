"""Logs: one JSON object a line on standard error, with ids and never with content, addresses or secrets.

The hot paths log once per batch: a line costs more than validation, authentication and pricing together.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any

import orjson
import structlog

#: Fields that must not be logged whatever they hold; a belt beside the braces of never passing them.
FORBIDDEN = frozenset(
    {
        "address", "addresses", "api_key", "auth_token", "authorization", "body", "content", "password", "recipient",
        "secret", "secrets", "sender_address", "text", "to", "token",
    }
)  # fmt: skip

#: Dataclasses are shown by their type as everything else is: an address is one.
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
#: How many causes of an exception are shown.
LONGEST_CHAIN = 10


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every forbidden field."""
    for name in FORBIDDEN & event.keys():
        event[name] = "[redacted]"
    return event


def tracebacks(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show an exception as types and places: its message and its local variables may hold content or secrets."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = described(error)
    return event


def described(error: BaseException | None) -> list[dict[str, Any]]:
    """An exception and what it came from, as types and places."""
    chain: list[dict[str, Any]] = []
    while isinstance(error, BaseException) and len(chain) < LONGEST_CHAIN:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append({"type": type(error).__qualname__, "at": places})
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


class Libraries(logging.Handler):
    """Passes on what libraries log: who, where and which exception, but not what they put into a sentence.

    An HTTP parser quotes the bytes that it could not read, a task's last words are its exception's message.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's bones as `library.logged`."""
        fields: dict[str, Any] = {"logger": record.name, "at": f"{record.module}:{record.lineno}"}
        if record.args and isinstance(record.msg, str):
            fields["said"] = record.msg  # with the places for the arguments empty
        if record.exc_info:
            fields["exc_info"] = record.exc_info[1]
        level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(logger(), level)("library.logged", **fields)


def _renderer(_: Any, __: str, event: MutableMapping[str, Any]) -> bytes:
    return orjson.dumps(event, default=_shown, option=_OPTIONS)


def _shown(value: Any) -> str:
    return f"<{type(value).__name__}>"


def configure(level: str = "info", stream: Any = None) -> None:
    """Set logging up for a process, for libraries as well, from their warnings on."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, Libraries)]
    root.addHandler(Libraries(logging.WARNING))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            tracebacks,
            redact,
            _renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(stream if stream is not None else sys.stderr.buffer),
        cache_logger_on_first_use=False,
    )


def logger(**fields: Any) -> Any:
    """A logger bound to these fields."""
    return structlog.get_logger(**fields)
