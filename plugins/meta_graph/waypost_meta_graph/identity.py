"""Event ids that stay the same however often, and in whatever batch, a delivery arrives."""

from __future__ import annotations

from typing import Any

import orjson
from waypost.plugin.signatures import sha256_hex

#: Longer ids are hashed; Instagram's message ids alone reach 200 characters.
MAX_EVENT_ID = 240


def event_id(*parts: str | None) -> str:
    """An event's id from the provider's own ids; absent parts count as empty, overlong ids are hashed."""
    joined = ":".join(part or "" for part in parts)
    if len(joined) <= MAX_EVENT_ID:
        return joined
    return f"{parts[0]}:{sha256_hex(joined.encode('utf-8', 'replace'))}"


def piece_digest(piece: Any) -> str:
    """A digest of a piece's content: equal for equal JSON, whatever the order of its keys."""
    return sha256_hex(orjson.dumps(piece, option=orjson.OPT_SORT_KEYS))[:32]


def piece_id(kind: str, piece: Any, *parts: str | None) -> str:
    """An event's id where the provider gives none: from its kind, what is known, and the raw piece's digest."""
    return event_id(kind, *parts, piece_digest(piece))
