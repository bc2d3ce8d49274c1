"""Messaging health. Source: Meta, WhatsApp, "Messaging and Calling Health Status"."""

from __future__ import annotations

from typing import Any

from waypost.plugin import AccountHealth
from waypost_meta_graph.pieces import child, objects, text


def health_of(node: dict[str, Any]) -> AccountHealth:
    """What a node's `health_status` means; a node without one is readable, and so it is `ok`.

    BLOCKED stops every send. LIMITED does not: Meta only sends less. The detail names what is in trouble by its type
    and Meta's error codes, never by Meta's words.
    """
    status = child(node, "health_status")
    word = text(status, "can_send_message")
    if word not in ("BLOCKED", "LIMITED"):
        return AccountHealth(state="ok")
    troubled = []
    for entity in objects(status, "entities"):
        if text(entity, "can_send_message") == word:
            codes = [code for error in objects(entity, "errors") if (code := text(error, "error_code"))]
            troubled.append(" ".join([text(entity, "entity_type") or "?", *codes]))
    detail = f"{word}: {', '.join(troubled) or 'no reason given'}."
    return AccountHealth(state="blocked" if word == "BLOCKED" else "ok", detail=detail)
