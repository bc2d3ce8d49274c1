"""Ids: UUIDv7 (RFC 9562 §5.7) behind a prefix that says what they name, sortable by time of birth."""

from __future__ import annotations

import re
from typing import Literal

from uuid_utils import uuid7

Prefix = Literal["org", "app", "key", "gw", "pa", "rt", "rate", "msg", "in", "raw", "ent", "node", "adt"]

_SHAPE = re.compile(r"[a-z]{2,4}_[0-9a-f]{32}")


def new_id(prefix: Prefix) -> str:
    """A new id, later in sort order than every earlier one of this process."""
    return f"{prefix}_{uuid7().hex}"


def looks_like_id(value: str) -> bool:
    """Whether a stranger's text has the shape of an id, of whatever."""
    return _SHAPE.fullmatch(value) is not None


def is_id(prefix: Prefix, value: str) -> bool:
    """Whether a stranger's text has the shape of such an id."""
    return value.startswith(f"{prefix}_") and looks_like_id(value)
