"""Tolerant readers of Meta's JSON: they answer None or an empty container, and never raise for a wrong type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from waypost.plugin.received import read_json

#: Numbers above this are milliseconds: as seconds it lies beyond the year 5000.
_FIRST_MILLISECONDS = 100_000_000_000


def load_object(body: bytes) -> dict[str, Any] | None:
    """Read a JSON document whose root is an object; None for anything else."""
    value = read_json(body)
    return value if isinstance(value, dict) else None


def read_object(body: bytes) -> dict[str, Any] | None:
    """Read a JSON document whose root is an object, at once or not at all: None for anything that needs mending."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def child(piece: Any, *path: str) -> dict[str, Any]:
    """The object below these keys; an empty one where there is none."""
    for key in path:
        piece = piece.get(key) if isinstance(piece, dict) else None
    return piece if isinstance(piece, dict) else {}


def items(piece: Any, key: str) -> list[Any]:
    """Everything in the array below a key, whatever its type; nothing where there is no array."""
    value = piece.get(key) if isinstance(piece, dict) else None
    return value if isinstance(value, list) else []


def objects(piece: Any, key: str) -> Iterator[dict[str, Any]]:
    """The objects in the array below a key; anything else in it is passed over."""
    return (item for item in items(piece, key) if isinstance(item, dict))


def text(piece: Any, key: str) -> str | None:
    """The text below a key, a whole number as its digits; None where it is empty or something else."""
    value = piece.get(key) if isinstance(piece, dict) else None
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def whole(piece: Any, key: str) -> int | None:
    """The whole number below a key, given as a number or as digits."""
    value = piece.get(key) if isinstance(piece, dict) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, str) and len(value) < 19 and value.isascii() and value.lstrip("-").isdigit():
        return _parsed(value)
    return None


def _parsed(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:
        return None


def decimal(piece: Any, key: str) -> float | None:
    """The finite number below a key, given as a number or as text."""
    value = piece.get(key) if isinstance(piece, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def flag(piece: Any, key: str) -> bool | None:
    """The truth value below a key; None where it is anything but true or false."""
    value = piece.get(key) if isinstance(piece, dict) else None
    return value if isinstance(value, bool) else None


def moment(value: Any) -> datetime | None:
    """A time in seconds or milliseconds since 1970 (number or digits), or in ISO 8601; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _from_epoch(value)
    if not isinstance(value, str):
        return None
    stripped = value.strip()
    if stripped.isascii() and stripped.isdigit():
        return _from_epoch(int(stripped)) if len(stripped) < 19 else None
    try:
        parsed = datetime.fromisoformat(stripped)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _from_epoch(number: float) -> datetime | None:
    if not 0 < number < 1e18:
        return None
    try:
        return datetime.fromtimestamp(number / 1000 if number >= _FIRST_MILLISECONDS else number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def moment_at(piece: Any, key: str = "timestamp") -> datetime | None:
    """The time below a key; see `moment`."""
    return moment(piece.get(key)) if isinstance(piece, dict) else None
