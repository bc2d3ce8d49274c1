"""What the simulated Send API finds wrong with a message's quick replies and templates.

Source: Meta, Messenger Platform, "Quick replies", "Button template", "Generic template". Nothing here is shared with
the plugins' own checks: a simulator that agreed by construction would prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waypost_meta_graph.pieces import items, text
from waypost_meta_graph.simulator import Refusal, invalid_parameter

_REPLY_TYPES = frozenset({"text", "user_phone_number", "user_email"})


def quick_replies_fault(replies: Any) -> Refusal | None:
    """What is wrong with a message's `quick_replies`."""
    if not isinstance(replies, list) or len(replies) > 13:
        return invalid_parameter("Param message[quick_replies] must have at most 13 items")
    for reply in replies:
        kind = text(reply, "content_type")
        if kind not in _REPLY_TYPES:
            return invalid_parameter("Param message[quick_replies][content_type] is invalid")
        if kind == "text" and not _fits(reply, "title", 20):
            return invalid_parameter("Length of param message[quick_replies][title] must be at most 20")
        if len(text(reply, "payload") or "") > 1000:
            return invalid_parameter("Length of param message[quick_replies][payload] must be at most 1000")
    return None


def template_fault(payload: Any) -> Refusal | None:
    """What is wrong with the payload of a structured template."""
    kind = text(payload, "template_type")
    if kind is None:
        return invalid_parameter("The parameter message[attachment][payload][template_type] is required")
    if not _few_buttons(payload):
        return invalid_parameter("Too many buttons", subcode=2018034)
    if kind == "button" and not (_fits(payload, "text", 640) and payload.get("buttons")):
        return invalid_parameter("A button template has a text of at most 640 characters, and buttons")
    return _generic_fault(items(payload, "elements")) if kind == "generic" else None


def _generic_fault(elements: list[Any]) -> Refusal | None:
    if not 1 <= len(elements) <= 10:
        return invalid_parameter("Param message[attachment][payload][elements] must have 1 to 10 items")
    for element in elements:
        if not _fits(element, "title", 80) or len(text(element, "subtitle") or "") > 80:
            return invalid_parameter("An element's title and subtitle have at most 80 characters")
        if not _few_buttons(element):
            return invalid_parameter("Too many buttons", subcode=2018034)
    return None


def _fits(piece: Any, key: str, limit: int) -> bool:
    return 1 <= len(text(piece, key) or "") <= limit


def _few_buttons(piece: Mapping[str, Any]) -> bool:
    """Whether the buttons, if any, are three at most."""
    buttons = piece.get("buttons", [])
    return isinstance(buttons, list) and len(buttons) <= 3
