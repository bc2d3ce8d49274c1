"""A template's variables, in the form in which Meta takes the parameters of a body.

Source: Meta, WhatsApp Cloud API, "Template components"; Messenger Platform, "Send a utility message".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waypost.plugin import ContentRejected


def body_parameters(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Variables by number in their order, or each with its name. Raises `ContentRejected` for a gap or a mixture."""
    if not any(name.isdecimal() for name in variables):
        return [{"type": "text", "parameter_name": name, "text": value} for name, value in variables.items()]
    wanted = [str(position) for position in range(1, len(variables) + 1)]
    if set(wanted) != set(variables):
        # Meta counts parameters by their order: a gap would put a value into the wrong place.
        raise ContentRejected("Template variables are all named, or numbered from 1 without a gap.")
    return [{"type": "text", "text": variables[position]} for position in wanted]
