"""Templates: a partner's variables → Meta's components, and Meta's list → ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from waypost.plugin import ContentRejected, Template, TemplateInfo
from waypost_meta_graph.pieces import objects, text
from waypost_meta_graph.template_variables import filled_components, has_component

from waypost_whatsapp.settings import Category, WhatsAppSettings

_CATEGORIES: Mapping[str, Category] = {name: name for name in get_args(Category)}
#: The categories whose templates carry a one-time code.
_OF_CODES = frozenset({"authentication", "authentication_international"})
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")


def checked_category(value: str) -> Category:
    """A category in Meta's own words, whatever its case. Raises `ContentRejected` for any other."""
    category = _CATEGORIES.get(value.strip().lower())
    if category is None:
        raise ContentRejected("A template's category is one of: " + ", ".join(_CATEGORIES) + ".")
    return category


def category_of(account: WhatsAppSettings, content: Template) -> Category:
    """A template's category: the operator's word, else the partner's, else the gateway's default.

    Raises `ContentRejected` for a category that Meta does not know.
    """
    known = account.template_categories.get(content.template_id)
    if known is not None:
        return known
    return checked_category(content.category) if content.category else account.default_category


def carries_a_code(account: WhatsAppSettings, content: Template) -> bool:
    """Whether a template is there to authenticate somebody, as far as anybody said."""
    return category_of(account, content) in _OF_CODES


def template_object(account: WhatsAppSettings, content: Template) -> dict[str, Any]:
    """The `template` of a send. Raises `ContentRejected` where variables and components contradict each other."""
    components = filled_components(content.components or (), content.variables)
    is_code = len(content.variables) == 1 and carries_a_code(account, content)
    if is_code and not has_component(components, "button"):
        (code,) = content.variables.values()
        components.append(_code_button(code))
    made: dict[str, Any] = {
        "name": content.template_id,
        "language": {"code": content.language or account.default_language},
    }
    if components:
        made["components"] = components
    return made


def _code_button(code: str) -> dict[str, Any]:
    """The button that copies or fills in a code. Source: Meta, "Authentication templates": the code goes into both."""
    return {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": code}]}


def template_infos(pieces: Iterable[Mapping[str, Any]]) -> list[TemplateInfo]:
    """Meta's list of templates as ours; `template_id` is the name, for that is what a send takes."""
    infos = []
    for piece in pieces:
        name = text(piece, "name")
        if name is not None:
            infos.append(
                TemplateInfo(
                    template_id=name,
                    name=name,
                    language=text(piece, "language"),
                    category=(text(piece, "category") or "").lower() or None,
                    status=(text(piece, "status") or "unknown").lower(),
                    variables=_variables(piece),
                )
            )
    return infos


def _variables(piece: Mapping[str, Any]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for component in objects(piece, "components"):
        if (text(component, "type") or "").upper() == "BODY":
            found.update(dict.fromkeys(_VARIABLE.findall(text(component, "text") or "")))
    return tuple(found)
