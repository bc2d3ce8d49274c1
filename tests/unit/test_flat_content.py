"""The flat fields of the two documents."""

from __future__ import annotations

from typing import Any

import pytest
from waypost.refusals import ValidationFailed
from waypost_server.rest.content import PARTNER_NAMES, TOKEN_NAMES, Names, flat_content, variables

NOTHING: dict[str, Any] = dict.fromkeys(
    ("text", "template_id", "template_variables", "template_language", "subject", "html", "media_url", "media_type")
)


@pytest.mark.parametrize(
    ("value", "written"), [(5, "5"), (0.5, "0.5"), (0.00001, "0.00001"), (1.5e10, "15000000000.0"), ("1e-05", "1e-05")]
)
def test_a_variables_number_is_written_out(value: str | float, written: str) -> None:
    assert variables({"1": value}, PARTNER_NAMES) == {"1": written}


@pytest.mark.parametrize(("names", "foreign"), [(PARTNER_NAMES, TOKEN_NAMES), (TOKEN_NAMES, PARTNER_NAMES)])
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ("text", "template", "media")),
        ({"is_email": True}, ("html", "text", "template")),
        ({"media_type": "image"}, ("media",)),
        ({"media_url": "https://[::1"}, ("media",)),
        ({"template_variables": {"1": "x"}}, ("template", "variables")),
        ({"template_id": "t", "template_variables": {"1": []}}, ("variables",)),
        ({"template_id": "t", "template_variables": {"1": 1e300}}, ("variables",)),
    ],
)
def test_each_document_is_answered_in_its_own_words(
    names: Names, foreign: Names, given: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        flat_content(**{**NOTHING, "is_email": False, **given}, names=names)
    told = refused.value.detail.replace(":", " ").replace(",", " ").split()
    assert {getattr(names, name) for name in named} <= set(told)
    assert not {getattr(foreign, name) for name in named} & set(told)
