"""Provider events as JSON and back: for those that wait for their message, and for the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import orjson

from waypost.plugin.content import Content
from waypost.plugin.events import ChannelEvent, DeliveryUpdate
from waypost.plugin.types import Address

#: How long an id may be as UTF-8: an entry of PostgreSQL's index takes some 2,700 bytes.
LONGEST_ID = 1000
#: What indexes hold of an event.
_IDS = frozenset({"event_id", "account_ref", "provider_id", "correlation", "reply_to", "participant"})
#: How deeply a strange value is kept, and which integers JSON's readers agree on.
_DEEPEST = 32
_WHOLE = 2**63


def storable(event: ChannelEvent) -> ChannelEvent:
    """The event without what no database can hold, wherever a stranger put it.

    That is NUL and lone surrogates in a text, and an id or address longer than an index takes: it ends in a digest; and
    a moment that no calendar has in UTC.
    """
    changed: dict[str, Any] = {}
    for name in _names(type(event)):  # type: ignore[arg-type]  # mypy takes the class for one of its instances
        value = getattr(event, name)
        if value is None or (type(value) is str and value.isascii() and len(value) <= LONGEST_ID and "\0" not in value):
            continue  # nearly all of them
        kept = _kept(value)
        if name in _IDS and isinstance(kept, str):
            kept = _shortened(kept)
        if kept is not value and kept != value:
            changed[name] = kept
    return replace(event, **changed) if changed else event


def _kept(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else _stored(value)
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, Address):
        kept = _shortened(_kept(value.value))
        return value if kept is value.value else Address(value.kind, kept)
    if isinstance(value, tuple) and value and isinstance(value[0], Address):
        return tuple(_kept(address) for address in value)
    return value


def _in_utc(moment: datetime) -> datetime:
    """A moment as UTC can tell it: elsewhere the calendar begins a few hours earlier, and ends later."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_ID // 4:
        return text
    written = text.encode()
    if len(written) <= LONGEST_ID:
        return text
    return f"{written[: LONGEST_ID // 2].decode(errors='ignore')}…{sha256(written).hexdigest()}"


@cache
def _names(kind: type[ChannelEvent]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind) if item.name not in ("raw", "content"))


@cache
def _all_names(kind: type[ChannelEvent]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def _stored(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def dump(event: ChannelEvent, *, with_raw: bool = True) -> str:
    """An event as JSON, with the name of its kind."""
    values: dict[str, Any] = {"kind": type(event).__name__}
    for name in _all_names(type(event)):  # type: ignore[arg-type]
        if with_raw or name != "raw":
            values[name] = getattr(event, name)
    return dump_json(values)


def dump_json(values: dict[str, Any]) -> str:
    """A provider's values as JSON; what JSON cannot hold is replaced, so that a strange piece harms only itself."""
    try:
        return orjson.dumps(values, default=_plain).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits, nesting without end
        return orjson.dumps(_representable(values), default=_plain).decode()


def _representable(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Content | Address):
        value = _plain(value)
    if isinstance(value, str):
        return _stored(value)
    if isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        return f"<an integer of {value.bit_length()} bits>"
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return value
    if depth >= _DEEPEST:
        return "<nested too deeply>"
    if isinstance(value, Mapping):
        return {_stored(str(key)): _representable(item, depth + 1) for key, item in value.items()}
    return [_representable(item, depth + 1) for item in value]


def load_delivery_update(stored: str) -> DeliveryUpdate:
    """A receipt that was parked."""
    values: dict[str, Any] = orjson.loads(stored)
    values.pop("kind")
    for name in ("occurred_at", "watermark"):
        if values.get(name) is not None:
            values[name] = datetime.fromisoformat(values[name])
    if values.get("recipient") is not None:
        values["recipient"] = Address(**values["recipient"])
    return DeliveryUpdate(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Address):
        return {"kind": value.kind, "value": value.value}
    if isinstance(value, Content):
        return value.model_dump(exclude_none=True)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return f"<{type(value).__name__}>"
