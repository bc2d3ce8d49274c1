"""Provider events as JSON and back: for those that wait for their message, and for the record."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

import orjson

from waypost.plugin.content import Content
from waypost.plugin.events import ChannelEvent, DeliveryUpdate
from waypost.plugin.types import Address


def dump(event: ChannelEvent, *, with_raw: bool = True) -> str:
    """An event as JSON, with the name of its kind."""
    values = {item.name: getattr(event, item.name) for item in fields(event)}
    if not with_raw:
        values.pop("raw", None)
    return orjson.dumps({"kind": type(event).__name__, **values}, default=_plain).decode()


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
