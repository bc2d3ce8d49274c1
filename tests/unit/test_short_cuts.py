"""What nearly every message takes a short cut through comes out as by the long way."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from waypost.admission import intake
from waypost.admission.request import SendRequest
from waypost.plugin.content import Text
from waypost.refusals import ValidationFailed
from waypost_server.rest.token_request import read_token_request

#: Any text that JSON can carry to us: no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LONG = "x" * 200_000


def read(body: dict[str, Any], channel: str) -> SendRequest | str:
    try:
        return read_token_request(body, channel, idempotency_key="k", fingerprint="f", request_id="r")
    except ValidationFailed as refusal:
        return refusal.detail


@given(to=TEXTS, text=TEXTS, channel=st.sampled_from(["SMS", "WHATSAPP", "EMAIL"]))
@example(to="+6591234567", text="Your order has shipped.", channel="SMS")
@example(to="", text="hi", channel="SMS")
@example(to="+65\u2028", text="hi", channel="SMS")
@example(to="x" * 512, text=LONG, channel="SMS")
@example(to="x" * 513, text="hi", channel="SMS")
@example(to="+6591234567", text=LONG + "x", channel="SMS")
@example(to="+6591234567", text="two\nlines", channel="SMS")
def test_a_plain_body_is_read_as_by_the_model(to: str, text: str, channel: str) -> None:
    # A third field, which says nothing, sends it through the model.
    assert read({"to": to, "text": text}, channel) == read({"to": to, "text": text, "type": None}, channel)


@given(to=TEXTS | st.none() | st.integers(), text=TEXTS | st.none() | st.integers() | st.lists(TEXTS, max_size=1))
def test_a_body_with_other_values_is_refused_as_by_the_model(to: object, text: object) -> None:
    assert read({"to": to, "text": text}, "SMS") == read({"to": to, "text": text, "type": None}, "SMS")


@given(body=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), preview=st.booleans())
def test_a_text_is_stored_as_the_model_would_dump_it(body: str, preview: bool) -> None:
    content = Text(body=body, preview_url=preview)
    assert Text.model_validate_json(intake._dump(content)) == content
    assert intake._dump(content) == content.model_dump_json(exclude_none=True)
