"""Parsed events as plain values, so that a test can hold every field of every event against a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from waypost.event_codec import dump
from waypost.plugin import ChannelEvent


def plain(event: ChannelEvent, delivery: Any) -> dict[str, Any]:
    """All fields that say something; `raw` as the place of the same value in the delivery."""
    fields = {name: value for name, value in json.loads(dump(event)).items() if value not in (None, [], {}, "")}
    raw = fields.pop("raw", None)
    places = [place for place, value in _places(delivery) if value == raw]
    fields["raw"] = places[0] if places else raw
    return fields


def _places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a document with its place, outermost first."""
    yield place, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(item, f"{place}/{key}")
