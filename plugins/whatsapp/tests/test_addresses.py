"""What partners may write as a recipient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost.plugin import Address, InvalidRecipient
from waypost_whatsapp.addresses import parse_address, wa_address
from waypost_whatsapp.channel import WhatsApp


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("+1234567890", Address("e164", "+1234567890")),
        ("+15551234567", Address("e164", "+15551234567")),
        (" +1 (555) 123-4567 ", Address("e164", "+15551234567")),
        ("+1.555.123.4567", Address("e164", "+15551234567")),
        ("+44 (0)20 7946 0958", Address("e164", "+442079460958")),
        ("+1\u00a0555\u20111234567", Address("e164", "+15551234567")),
        ("US.20417733905561208843", Address("wa_user_id", "US.20417733905561208843")),
        ("US.ENT.77120094411873", Address("wa_user_id", "US.ENT.77120094411873")),
    ],
)
def test_addresses_in_normal_form(written: str, normal: Address, plugin: WhatsApp) -> None:
    assert plugin.parse_address(written) == normal
    assert plugin.parse_address(normal.value) == normal


@pytest.mark.parametrize(
    "written",
    ["", "+", "15551234567", "+123456", "+1234567890123456", "+1555abc4567", "+١٢٣٤٥٦٧٨", "us.1", "US.", "a@b"],
)
def test_what_is_no_address(written: str, plugin: WhatsApp) -> None:
    with pytest.raises(InvalidRecipient) as caught:
        plugin.parse_address(written)
    assert written not in str(caught.value) or written in ("", "+")


@given(st.text())
def test_nothing_else_is_raised(written: str) -> None:
    wa_address(written)
    try:
        parse_address(written)
    except InvalidRecipient:
        return


def test_what_webhooks_name() -> None:
    assert wa_address("16505550143") == Address("e164", "+16505550143")
    assert wa_address("+16505550143") == Address("e164", "+16505550143")
    assert wa_address("US.1") == Address("wa_user_id", "US.1")
    assert wa_address("Y2FwaV9ncm91cDo=").kind == "wa_id"
