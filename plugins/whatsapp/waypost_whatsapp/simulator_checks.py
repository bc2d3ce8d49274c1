"""What the simulated Cloud API finds wrong with a send, in Meta's own codes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from waypost_meta_graph.pieces import child, decimal, items, objects, text
from waypost_meta_graph.simulator import Refusal, invalid_parameter

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
_PHONE = re.compile(r"\+?[0-9]{7,15}")
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")


def refused(code: int, title: str, details: str, status: int = 400) -> Refusal:
    """A WhatsApp error as the Cloud API writes it."""
    return Refusal(status, code, f"(#{code}) {title}", details=details)


def _required(name: str) -> Refusal:
    return refused(131008, "Required parameter is missing", f"Parameter {name} is required.")


def _invalid(details: str) -> Refusal:
    return refused(131009, "Parameter value is not valid", details)


@dataclass(frozen=True, slots=True)
class SimulatedTemplate:
    """A template of the simulated business account."""

    name: str
    language: str
    category: str
    body: str
    status: str = "APPROVED"
    template_id: str = field(default_factory=lambda: str(10**15 + secrets.randbelow(9 * 10**15)))

    @property
    def variables(self) -> list[str]:
        """The names of the body's variables."""
        return list(dict.fromkeys(_VARIABLE.findall(self.body)))

    @classmethod
    def defined(cls, definition: Mapping[str, Any]) -> Self:
        """A template as an operator defines it; Meta approves this one at once."""
        bodies = [text(piece, "text") for piece in objects(definition, "components") if piece.get("type") == "BODY"]
        return cls(
            text(definition, "name") or "",
            text(definition, "language") or "en_US",
            (text(definition, "category") or "MARKETING").lower(),
            next((body for body in bodies if body), ""),
        )

    def listed(self) -> dict[str, Any]:
        """The template as `GET /{waba}/message_templates` lists it."""
        return {
            "name": self.name,
            "language": self.language,
            "category": self.category.upper(),
            "status": self.status,
            "parameter_format": "POSITIONAL" if all(name.isdecimal() for name in self.variables) else "NAMED",
            "components": [{"type": "BODY", "text": self.body}],
            "id": self.template_id,
        }


TEMPLATES: Mapping[str, SimulatedTemplate] = {
    template.name: template
    for template in (
        SimulatedTemplate("hello_world", "en_US", "utility", "Welcome and congratulations!"),
        SimulatedTemplate("order_update", "en_US", "utility", "Hi {{1}}, order {{2}} has shipped."),
        SimulatedTemplate("welcome_named", "en", "marketing", "Hi {{first_name}}, about order {{order_id}} …"),
        SimulatedTemplate("otp_code", "en_US", "authentication", "{{1}} is your verification code."),
        SimulatedTemplate("paused_template", "en_US", "marketing", "Sale!", status="PAUSED"),
    )
}


def category_of(body: Mapping[str, Any], templates: Mapping[str, SimulatedTemplate]) -> str:
    """The pricing category of a send."""
    if body.get("type") != "template":
        return "service"
    known = templates.get(text(child(body, "template"), "name") or "")
    return known.category if known is not None else "marketing"


def fault_of(body: Mapping[str, Any], templates: Mapping[str, SimulatedTemplate]) -> Refusal | None:
    """What Meta would refuse in this request; None where it would take it."""
    if body.get("messaging_product") != "whatsapp":
        return invalid_parameter("The parameter messaging_product is required.")
    if "status" in body:
        return None if body["status"] == "read" and text(body, "message_id") else _required("message_id")
    fault = _recipient_fault(body)
    if fault is not None:
        return fault
    kind = text(body, "type") or "text"
    if kind == "template":
        return _template_fault(child(body, "template"), templates)
    check = _CHECKS.get(kind)
    return check(body, kind) if check is not None else invalid_parameter("Param type must be a known message type.")


def _recipient_fault(body: Mapping[str, Any]) -> Refusal | None:
    to, recipient = text(body, "to"), text(body, "recipient")
    if to is None and recipient is None:
        return invalid_parameter("The parameter to is required.")
    if to is not None and not _PHONE.fullmatch(to):
        return _invalid("Recipient phone number is not valid.")
    if to is None and not _USER_ID.fullmatch(recipient or ""):
        return _invalid("Recipient is not a business-scoped user ID.")
    if len(text(body, "biz_opaque_callback_data") or "") > 512:
        return _invalid("biz_opaque_callback_data is too long.")
    return None


def _template_fault(template: Mapping[str, Any], templates: Mapping[str, SimulatedTemplate]) -> Refusal | None:
    name, language = text(template, "name"), text(child(template, "language"), "code")
    if name is None or language is None:
        return _required("template.name" if name is None else "template.language.code")
    known = templates.get(name)
    missing = name == "missing_template" or (known is not None and known.language != language)
    if missing or not re.fullmatch(r"[a-z0-9_]{1,512}", name):
        details = f"template name ({name}) does not exist in {language}"
        return refused(132001, "Template name does not exist in the translation", details, 404)
    if known is None:
        return None
    if known.status == "PAUSED":
        return refused(132015, "Template is Paused", "Template is paused due to low quality.")
    given = [
        parameter
        for component in objects(template, "components")
        if (text(component, "type") or "").lower() == "body"
        for parameter in objects(component, "parameters")
    ]
    names = {text(parameter, "parameter_name") for parameter in given}
    positional = all(variable.isdecimal() for variable in known.variables)
    if len(given) != len(known.variables) or (not positional and names != set(known.variables)):
        details = f"body: number of localizable_params ({len(given)}) does not match ({len(known.variables)})"
        return refused(132000, "Number of parameters does not match the expected number of params", details)
    return None


def _text_fault(body: Mapping[str, Any], _: str) -> Refusal | None:
    words = text(child(body, "text"), "body")
    if words is None:
        return invalid_parameter("The parameter text['body'] is required.")
    return invalid_parameter("Param text['body'] must be at most 4096 characters long.") if len(words) > 4096 else None


def _media_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    media = child(body, kind)
    if (text(media, "id") is None) == (text(media, "link") is None):
        return _required(f"{kind}['id'] or {kind}['link']")
    if "caption" in media and kind in ("audio", "sticker"):
        return invalid_parameter(f"Unexpected key caption on param {kind}.")
    return None


def _location_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    place = child(body, kind)
    known = decimal(place, "latitude") is not None and decimal(place, "longitude") is not None
    return None if known else _required("location['latitude'] and location['longitude']")


def _contacts_fault(body: Mapping[str, Any], _: str) -> Refusal | None:
    contacts = items(body, "contacts")
    named = [text(child(contact, "name"), "formatted_name") for contact in contacts]
    return None if contacts and all(named) else _required("contacts['name']['formatted_name']")


def _reaction_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    reaction = child(body, kind)
    return None if text(reaction, "message_id") and "emoji" in reaction else _required("reaction['message_id']")


def _interactive_fault(body: Mapping[str, Any], kind: str) -> Refusal | None:
    interactive = child(body, kind)
    shape, action = text(interactive, "type"), child(interactive, "action")
    if shape is None or not action:
        return _required("interactive['type'] and interactive['action']")
    if len(text(child(interactive, "footer"), "text") or "") > 60:
        return _invalid("Footer text length invalid. Max length: 60")
    if shape == "button":
        return _buttons_fault(action)
    return _list_fault(action) if shape == "list" else None


def _buttons_fault(action: Mapping[str, Any]) -> Refusal | None:
    replies = [child(button, "reply") for button in items(action, "buttons")]
    if not 1 <= len(replies) <= 3:
        return _invalid("Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3")
    if not all(1 <= len(text(reply, "title") or "") <= 20 for reply in replies):
        return _invalid("Button title length invalid. Min length: 1, Max length: 20")
    ids = [text(reply, "id") or "" for reply in replies]
    if not all(1 <= len(name) <= 256 for name in ids) or len(set(ids)) < len(ids):
        return _invalid("Button id is missing, too long or not unique.")
    return None


def _list_fault(action: Mapping[str, Any]) -> Refusal | None:
    sections = list(objects(action, "sections"))
    rows = [row for section in sections for row in objects(section, "rows")]
    if not 1 <= len(rows) <= 10 or len(sections) > 10:
        return _invalid("Total row count exceed max allowed count: 10")
    if len(sections) > 1 and not all(text(section, "title") for section in sections):
        return _required("interactive['action']['sections']['title']")
    if not 1 <= len(text(action, "button") or "") <= 20:
        return _invalid("Button label length invalid. Max length: 20")
    if not all(
        1 <= len(text(row, "title") or "") <= 24 and len(text(row, "id") or "") in range(1, 201) for row in rows
    ):
        return _invalid("Row title or id length invalid. Max length: 24, 200")
    return None


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
