"""The templates of the simulated business account, and what the Cloud API finds wrong with sending one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from waypost_meta_graph.pieces import child, objects, text
from waypost_meta_graph.simulator import Refusal

from waypost_whatsapp.simulator_refusals import refused, required

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")


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


def template_fault(body: Mapping[str, Any], templates: Mapping[str, SimulatedTemplate]) -> Refusal | None:
    """What Meta would refuse in a send of a template; None where it would take it."""
    template = child(body, "template")
    name, language = text(template, "name"), text(child(template, "language"), "code")
    if name is None or language is None:
        return required("template.name" if name is None else "template.language.code")
    known = templates.get(name)
    missing = name == "missing_template" or (known is not None and known.language != language)
    if missing or not re.fullmatch(r"[a-z0-9_]{1,512}", name):
        details = f"template name ({name}) does not exist in {language}"
        return refused(132001, "Template name does not exist in the translation", details, 404)
    if known is None:
        return None
    if known.status == "PAUSED":
        return refused(132015, "Template is Paused", "Template is paused due to low quality.")
    return _code_fault(known, body) or _parameters_fault(known, template)


def _code_fault(known: SimulatedTemplate, body: Mapping[str, Any]) -> Refusal | None:
    if known.category != "authentication":
        return None
    if "to" not in body:
        details = "Authentication templates cannot be sent to a business-scoped user ID."
        return refused(131062, "Business-scoped user ID is not supported for this message", details)
    if not _parameters(child(body, "template"), "button"):
        # In the words that people quote who left it out.
        details = "buttons: Button at index 0 of type Url requires a parameter"
        return refused(131008, "Required parameter is missing", details)
    return None


def _parameters_fault(known: SimulatedTemplate, template: Mapping[str, Any]) -> Refusal | None:
    given = _parameters(template, "body")
    names = {text(parameter, "parameter_name") for parameter in given}
    positional = all(variable.isdecimal() for variable in known.variables)
    if len(given) != len(known.variables) or (not positional and names != set(known.variables)):
        details = f"body: number of localizable_params ({len(given)}) does not match ({len(known.variables)})"
        return refused(132000, "Number of parameters does not match the expected number of params", details)
    return None


def _parameters(template: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """The parameters of a template's components of one kind."""
    return [
        parameter
        for component in objects(template, "components")
        if (text(component, "type") or "").lower() == kind
        for parameter in objects(component, "parameters")
    ]
