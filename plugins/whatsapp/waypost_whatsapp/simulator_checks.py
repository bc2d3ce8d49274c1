"""What the simulated Cloud API finds wrong with a send, in Meta's own codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from waypost_meta_graph.pieces import child, decimal, items, objects, text
from waypost_meta_graph.simulator import Refusal, invalid_parameter

from waypost_whatsapp.simulator_refusals import invalid, required
from waypost_whatsapp.simulator_templates import SimulatedTemplate, template_fault

_PHONE = re.compile(r"\+?[0-9]{7,15}")
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")


def fault_of(body: Mapping[str, Any], templates: Mapping[str, SimulatedTemplate]) -> Refusal | None:
    """What Meta would refuse in this request; None where it would take it."""
    if body.get("messaging_product") != "whatsapp":
        return invalid_parameter("The parameter messaging_product is required.")
    if "status" in body:
        return None if body["status"] == "read" and text(body, "message_id") else required("message_id")
    fault = _recipient_fault(body)
    if fault is not None:
        return fault
    kind = text(body, "type") or "text"
    if kind == "template":
        return template_fault(body, templates)
    check = _CHECKS.get(kind)
    return check(body, kind) if check is not None else invalid_parameter("Param type must be a known message type.")


def _recipient_fault(body: Mapping[str, Any]) -> Refusal | None:
    to, recipient = text(body, "to"), text(body, "recipient")
    if to is None and recipient is None:
        return invalid_parameter("The parameter to is required.")
    if to is not None and not _PHONE.fullmatch(to):
        return invalid("Recipient phone number is not valid.")
    if to is None and not _USER_ID.fullmatch(recipient or ""):
        return invalid("Recipient is not a business-scoped user ID.")
    if len(text(body, "biz_opaque_callback_data") or "") > 512:
        return invalid("biz_opaque_callback_data is too long.")
    return None


def _text_fault(body: Mapping[str, Any], _: str) -> Refusal | None:
    words = text(child(body, "text"), "body")
    if words is None:
        return invalid_parameter("The parameter text['body'] is required.")
    return invalid_parameter("Param text['body'] must be at most 4096 characters long.") if len(words) > 4096 else None


def _media_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    media = child(body, kind)
    if (text(media, "id") is None) == (text(media, "link") is None):
        return required(f"{kind}['id'] or {kind}['link']")
    if "caption" in media and kind in ("audio", "sticker"):
        return invalid_parameter(f"Unexpected key caption on param {kind}.")
    if len(text(media, "caption") or "") > 1024:
        return invalid_parameter(f"Param {kind}['caption'] must be at most 1024 characters long.")
    return None


def _location_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    place = child(body, kind)
    known = decimal(place, "latitude") is not None and decimal(place, "longitude") is not None
    return None if known else required("location['latitude'] and location['longitude']")


def _contacts_fault(body: Mapping[str, Any], _: str) -> Refusal | None:
    contacts = items(body, "contacts")
    named = [text(child(contact, "name"), "formatted_name") for contact in contacts]
    return None if contacts and all(named) else required("contacts['name']['formatted_name']")


def _reaction_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    reaction = child(body, kind)
    return None if text(reaction, "message_id") and "emoji" in reaction else required("reaction['message_id']")


def _interactive_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    interactive = child(body, kind)
    shape, action = text(interactive, "type"), child(interactive, "action")
    if shape is None or not action:
        return required("interactive['type'] and interactive['action']")
    if shape not in _INTERACTIVE:
        return invalid_parameter("Param interactive['type'] must be one of {" + ", ".join(sorted(_INTERACTIVE)) + "}")
    fault = _frame_fault(interactive, shape)
    if fault is not None:
        return fault
    check = _ACTION_CHECKS.get(shape)
    return check(action) if check is not None else None


def _frame_fault(interactive: Mapping[str, Any], shape: str) -> Refusal | None:
    words = text(child(interactive, "body"), "text") or ""
    if not words and shape not in _BODILESS:
        return required("interactive['body']['text']")
    # A list's text may be longer in some versions.
    limit = 4096 if shape == "list" else 1024
    if len(words) > limit:
        return invalid(f"Body text length invalid. Max length: {limit}")
    if len(text(child(interactive, "footer"), "text") or "") > 60:
        return invalid("Footer text length invalid. Max length: 60")
    return None


def _link_fault(action: Mapping[str, Any]) -> Refusal | None:
    parameters = child(action, "parameters")
    if not 1 <= len(text(parameters, "display_text") or "") <= 20:
        return invalid("Button display_text length invalid. Min length: 1, Max length: 20")
    return None if text(parameters, "url") else required("interactive['action']['parameters']['url']")


def _buttons_fault(action: Mapping[str, Any]) -> Refusal | None:
    replies = [child(button, "reply") for button in items(action, "buttons")]
    if not 1 <= len(replies) <= 3:
        return invalid("Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3")
    if not all(1 <= len(text(reply, "title") or "") <= 20 for reply in replies):
        return invalid("Button title length invalid. Min length: 1, Max length: 20")
    ids = [text(reply, "id") or "" for reply in replies]
    if not all(1 <= len(name) <= 256 for name in ids) or len(set(ids)) < len(ids):
        return invalid("Button id is missing, too long or not unique.")
    return None


def _list_fault(action: Mapping[str, Any]) -> Refusal | None:
    sections = list(objects(action, "sections"))
    rows = [row for section in sections for row in objects(section, "rows")]
    if not 1 <= len(rows) <= 10 or len(sections) > 10:
        return invalid("Total row count exceed max allowed count: 10")
    if len(sections) > 1 and not all(text(section, "title") for section in sections):
        return required("interactive['action']['sections']['title']")
    if not 1 <= len(text(action, "button") or "") <= 20:
        return invalid("Button label length invalid. Max length: 20")
    if not all(
        1 <= len(text(row, "title") or "") <= 24 and len(text(row, "id") or "") in range(1, 201) for row in rows
    ):
        return invalid("Row title or id length invalid. Max length: 24, 200")
    if not all(len(text(row, "description") or "") <= 72 for row in rows):
        return invalid("Row description length invalid. Max length: 72")
    return None


_ACTION_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], Refusal | None]] = {
    "button": _buttons_fault,
    "cta_url": _link_fault,
    "list": _list_fault,
}
#: Source: Meta, WhatsApp Cloud API, "Interactive messages"; those of carousels, addresses and calls are the newest.
_INTERACTIVE = frozenset(_ACTION_CHECKS) | {
    "address_message", "call_permission_request", "carousel", "catalog_message", "flow", "location_request_message",
    "order_details", "order_status", "product", "product_list", "voice_call",
}  # fmt: skip
#: Of these a text is not asked, or not in every version.
_BODILESS = frozenset({"call_permission_request", "product"})


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], Refusal | None]] = {
    "text": _text_fault,
    "image": _media_fault,
    "video": _media_fault,
    "audio": _media_fault,
    "document": _media_fault,
    "sticker": _media_fault,
    "location": _location_fault,
    "contacts": _contacts_fault,
    "reaction": _reaction_fault,
    "interactive": _interactive_fault,
}
