"""Lengths that Meta documents, checked before a message costs anything."""

from __future__ import annotations

from waypost.plugin import ContentRejected


def within(what: str, text: str, limit: int) -> str:
    """Return the text; raises `ContentRejected` naming `what`, never the text, where it is too long."""
    if len(text) > limit:
        raise ContentRejected(f"{what} may have {limit} characters; this has {len(text)}.")
    return text
