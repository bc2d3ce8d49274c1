"""A template's components: those that a partner gives, and the body that their variables make.

Source: Meta, WhatsApp Cloud API, "Template components"; Messenger Platform, "Send a utility message".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from waypost.plugin import ContentRejected


def filled_components(given: Iterable[Mapping[str, Any]], variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """The components of a send, the variables as its body. Raises `ContentRejected` where both say what the body is."""
    components = [dict(component) for component in given]
    if variables:
        if has_component(components, "body"):
            raise ContentRejected("Give the body's variables or a body component, not both.")
        components.append({"type": "body", "parameters": _body_parameters(variables)})
    return components


def has_component(components: Iterable[Mapping[str, Any]], kind: str) -> bool:
    """Whether one of the components is of this type, which Meta takes in either case."""
    return any(str(component.get("type", "")).lower() == kind for component in components)


def _body_parameters(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Variables by number in their order, or each with its name. Raises `ContentRejected` for a gap or a mixture."""
    if not any(name.isdecimal() for name in variables):
        return [{"type": "text", "parameter_name": name, "text": value} for name, value in variables.items()]
    wanted = [str(position) for position in range(1, len(variables) + 1)]
    if set(wanted) != set(variables):
        # Meta counts parameters by their order: a gap would put a value into the wrong place.
        raise ContentRejected("Template variables are all named, or numbered from 1 without a gap.")
    return [{"type": "text", "text": variables[position]} for position in wanted]
