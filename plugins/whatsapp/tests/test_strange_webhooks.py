"""Deliveries nobody documented: nothing raises, everything is kept, neighbours are still read."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_json import ODDITIES
from waypost.plugin import (
    AccountUpdate,
    Address,
    Challenge,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    InboundMessage,
    Media,
    PriceUpdate,
    Rejected,
    TemplateUpdate,
    Text,
    Unknown,
    UnknownEvent,
    WebhookContext,
    WebhookRequest,
)
from waypost_whatsapp.channel import WhatsApp
from waypost_whatsapp.settings import WhatsAppSettings

Parse = Callable[[Any], list[ChannelEvent]]
NUMBER = "330011223344556"
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def envelope(field: str, value: Any, **entry: Any) -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "220099887766551", "changes": [{"field": field, "value": value}], **entry}],
    }


def messages(*pieces: Any, **value: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": "+1 555-000-1122", "phone_number_id": NUMBER}
    return envelope("messages", {"metadata": metadata, "messages": list(pieces), **value})


def statuses(*pieces: Any) -> dict[str, Any]:
    return envelope("messages", {"metadata": {"phone_number_id": NUMBER}, "statuses": list(pieces)})


def storable(event: ChannelEvent) -> None:
    """What the core keeps of an event must be writable as JSON."""
    content = getattr(event, "content", None)
    kept = {"raw": event.raw, "detail": getattr(event, "detail", None), "content": content and content.model_dump()}
    written = orjson.dumps(kept)
    assert b"\\u0000" not in written.replace(b"\\\\", b"")


TEXT = {"id": "wamid.1", "from": "16505550143", "timestamp": "1794302100", "type": "text", "text": {"body": "hi"}}


@given(st.binary() | JUNK.map(lambda value: json.dumps(value).encode()))
@SHARED
def test_no_body_raises(plugin: WhatsApp, webhook_ctx: WebhookContext, body: bytes) -> None:
    request = WebhookRequest(method="POST", url="https://gw.test/", body=body)
    events = plugin.parse_event(webhook_ctx, request)
    assert events
    assert all(isinstance(event, UnknownEvent) for event in events)
    assert list(events) == list(plugin.parse_event(webhook_ctx, request))
    plugin.recognize(request)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in children:
        found += paths(item, (*path, key))
    return found


@given(data=st.data())
@settings(SHARED, max_examples=400)
def test_no_wrong_type_anywhere_raises_or_harms_a_neighbour(
    data: st.DataObject, deliveries: dict[str, WebhookRequest], parse: Parse
) -> None:
    document = json.loads(data.draw(st.sampled_from(sorted(deliveries.items())))[1].body)
    spoilt = copy.deepcopy(document)
    *parents, last = data.draw(st.sampled_from(paths(spoilt["entry"])))
    place: Any = spoilt["entry"]
    for key in parents:
        place = place[key]
    place[last] = data.draw(JUNK)
    neighbour = messages(TEXT)["entry"]
    events = parse({**spoilt, "entry": [*spoilt["entry"], *neighbour]})
    again = parse({**spoilt, "entry": [*spoilt["entry"], *neighbour]})
    assert [event.event_id for event in events] == [event.event_id for event in again]
    assert f"message:{NUMBER}:wamid.1" in {event.event_id for event in events}
    for event in events:
        storable(event)
        assert isinstance(event.raw, dict)
        assert len(event.event_id) <= 255


@pytest.mark.parametrize("oddity", ODDITIES)
def test_what_json_readers_stumble_over_costs_its_neighbours_nothing(
    oddity: bytes, parse: Parse, plugin: WhatsApp
) -> None:
    spoilt = {**TEXT, "id": "wamid.2", "here": "@@"}
    receipt = {"id": "wamid.3", "status": "read", "timestamp": "1794302100"}
    document = messages("@@", spoilt, TEXT, statuses=["@@", receipt], contacts=["@@"], errors=["@@"])
    (other,) = messages({**TEXT, "id": "wamid.4"})["entry"]
    document["entry"] += ["@@", {"id": "1", "time": "@@", "changes": ["@@"]}, other]
    body = json.dumps(document).encode().replace(b'"@@"', oddity)
    request = WebhookRequest(method="POST", url="https://gw.test/", body=body)
    events = parse(request)
    read = [event.event_id for event in events if not isinstance(event, UnknownEvent)]
    numbered = f"message:{NUMBER}:wamid."
    assert read == [f"{numbered}2", f"{numbered}1", f"status:{NUMBER}:wamid.3:read:", f"{numbered}4"]
    # The five other places, each kept by itself.
    assert len(events) == len(read) + 5
    inbound = [event for event in events if isinstance(event, InboundMessage)]
    assert [event.content for event in inbound] == [Text(body="hi")] * 3
    assert set(inbound[0].raw) == set(spoilt)
    for event in events:
        storable(event)
        assert event.raw
    found = plugin.recognize(request)
    assert found is not None
    assert found.account_ref == NUMBER


@pytest.mark.parametrize("field", ["calls", "flows", "history", "smb_message_echoes", "group_status_update", "", "new"])
def test_unknown_fields_are_kept(field: str, parse: Parse) -> None:
    value = {"metadata": {"phone_number_id": NUMBER}, "statuses": [{"id": "x", "status": "RINGING"}]}
    (event,) = parse(envelope(field, value))
    assert isinstance(event, UnknownEvent)
    assert event.raw == {"field": field, "value": value}
    assert event.account_ref == NUMBER


CALL = {
    "id": "wacid.1",
    "from": "16505550143",
    "to": "15550001122",
    "event": "connect",
    "direction": "USER_INITIATED",
    "timestamp": "1794302100",
    "session": {"sdp_type": "offer", "sdp": "v=0"},
}


def calls(*pieces: Any, **value: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": "15550001122", "phone_number_id": NUMBER}
    return envelope("calls", {"metadata": metadata, "calls": list(pieces), **value})


def test_a_call_counts_as_a_persons_message(parse: Parse) -> None:
    contacts = [{"wa_id": "16505550143", "user_id": "US.1", "profile": {"name": "Ada"}}]
    (event,) = parse(calls(CALL, contacts=contacts))
    assert event == InboundMessage(
        event_id=f"call:{NUMBER}:wacid.1",
        account_ref=NUMBER,
        occurred_at=datetime.fromtimestamp(1794302100, UTC),
        raw=CALL,
        provider_id="wacid.1",
        sender=(Address("e164", "+16505550143"), Address("wa_user_id", "US.1")),
        recipient=Address("e164", "+15550001122"),
        content=Unknown(provider_kind="call", fields={}),
        sender_name="Ada",
    )


@pytest.mark.parametrize(
    "piece",
    [
        {**CALL, "direction": "BUSINESS_INITIATED"},
        {**CALL, "event": "terminate", "status": "COMPLETED", "duration": 7},
        {**CALL, "direction": None},
        {**CALL, "id": None},
        {**CALL, "from": None},
        "odd",
    ],
)
def test_other_news_of_calls_are_kept(piece: Any, parse: Parse) -> None:
    ringing = {"id": "wacid.2", "status": "RINGING", "type": "call"}
    kept, call, status = parse(calls(piece, CALL, statuses=[ringing]))
    assert isinstance(kept, UnknownEvent)
    assert kept.raw == (piece if isinstance(piece, dict) else {"value": piece})
    assert isinstance(call, InboundMessage)
    assert isinstance(status, UnknownEvent)
    assert (status.raw, status.account_ref) == (ringing, NUMBER)


def test_an_empty_change_is_kept(parse: Parse) -> None:
    for document in (
        messages(),
        envelope("messages", {}),
        calls(),
        envelope("user_preferences", {"user_preferences": []}),
    ):
        (event,) = parse(document)
        assert isinstance(event, UnknownEvent)


@pytest.mark.parametrize("word", ["deleted", "warning", "teleported", "", None, 7])
def test_unknown_statuses_are_kept(word: Any, parse: Parse) -> None:
    piece = {"id": "wamid.1", "status": word, "timestamp": "1794302100"}
    kept, read = parse(statuses(piece, {"id": "wamid.2", "status": "read"}))
    assert isinstance(kept, UnknownEvent)
    assert kept.raw == piece
    assert isinstance(read, DeliveryUpdate)
    assert read.occurred_at is None


def test_an_unknown_message_type_is_a_message_of_unknown_content(parse: Parse) -> None:
    piece = {**TEXT, "type": "hologram", "hologram": {"depth": 3}}
    event, neighbour = parse(messages(piece, {**TEXT, "id": "wamid.2"}))
    assert isinstance(event, InboundMessage)
    assert event.content == Unknown(provider_kind="hologram", fields={"depth": 3})
    assert event.raw == piece
    assert isinstance(neighbour, InboundMessage)
    assert neighbour.content == Text(body="hi")


@pytest.mark.parametrize(
    "piece",
    [
        {**TEXT, "text": {"body": ""}},
        {**TEXT, "text": "hi"},
        {**TEXT, "type": "image", "image": {}},
        {**TEXT, "type": "location", "location": {"latitude": 1000, "longitude": 0}},
        {**TEXT, "type": "interactive"},
        {**TEXT, "type": "contacts", "contacts": []},
    ],
)
def test_known_types_without_what_they_need(piece: Any, parse: Parse) -> None:
    (event,) = parse(messages(piece))
    assert isinstance(event, InboundMessage)
    assert isinstance(event.content, Unknown)


def test_what_does_not_fit_a_kind_keeps_its_fields(parse: Parse) -> None:
    cards = [{"name": {"formatted_name": str(n)}} for n in range(51)]
    (event,) = parse(messages({**TEXT, "type": "contacts", "contacts": cards}))
    assert isinstance(event, InboundMessage)
    assert event.content == Unknown(provider_kind="contacts", fields={"contacts": cards})


def test_media_with_an_odd_url_keep_their_id(parse: Parse) -> None:
    piece = {**TEXT, "type": "image", "image": {"id": "7", "url": "ftp://x", "caption": "c" * 5000}}
    (event,) = parse(messages(piece))
    assert isinstance(event, InboundMessage)
    assert event.content == Media(kind="image", media_id="7")


def test_a_message_from_nobody_is_kept(parse: Parse) -> None:
    piece = {key: value for key, value in TEXT.items() if key != "from"}
    (event,) = parse(messages(piece))
    assert isinstance(event, UnknownEvent)
    contacts = [{"user_id": "US.1", "profile": {"name": "Ada"}}]
    (known,) = parse(messages(piece, contacts=contacts))
    assert isinstance(known, InboundMessage)
    assert known.sender == (Address("wa_user_id", "US.1"),)
    assert known.sender_name == "Ada"
    (numbered,) = parse(messages(piece, contacts=[{"wa_id": "16505550143"}]))
    assert isinstance(numbered, InboundMessage)
    assert numbered.sender == (Address("e164", "+16505550143"),)


def test_of_two_contacts_each_message_has_its_own(parse: Parse) -> None:
    contacts = [
        {"profile": {"name": "Nobody"}},
        {"wa_id": "16505550143", "user_id": "US.1", "profile": {"name": "Ada"}},
        {"wa_id": "16505550199", "user_id": "US.2", "profile": {"name": "Bo"}},
        {"user_id": "US.3", "profile": {"name": "Cy"}},
        {"wa_id": "16505550143", "profile": {"name": "a later word of the same person"}},
    ]
    nameless = {key: value for key, value in TEXT.items() if key != "from"}
    pieces = [
        {**TEXT, "id": "1", "from": "16505550199"},
        {**TEXT, "id": "2", "from": "16505550143"},
        {**nameless, "id": "3", "from_user_id": "US.3"},
        {**TEXT, "id": "4", "from": "US.2"},
        {**TEXT, "id": "5", "from": "16505550777"},
        {**TEXT, "id": "6", "from": "16505550777", "from_user_id": "US.1"},
    ]
    events = parse(messages(*pieces, contacts=contacts))
    assert [event.sender_name for event in events if isinstance(event, InboundMessage)] == [
        "Bo", "Ada", "Cy", "Bo", None, "Ada",
    ]  # fmt: skip
    assert isinstance(events[4], InboundMessage)
    assert events[4].sender == (Address("e164", "+16505550777"),)


@pytest.mark.parametrize(
    ("pieces", "contacts"),
    [
        ([{**TEXT, "from": "16505550777"}], [{"wa_id": "16505550143", "user_id": "US.1", "profile": {"name": "Ada"}}]),
        ([{**TEXT, "from": None, "from_user_id": "US.7"}], [{"user_id": "US.1", "profile": {"name": "Ada"}}]),
        ([{**TEXT, "from": None}, {**TEXT, "id": "2"}], [{"user_id": "US.1", "profile": {"name": "Ada"}}]),
        ([{**TEXT, "from": None}], [{"user_id": "US.1", "profile": {"name": "Ada"}}, {"user_id": "US.2"}]),
    ],
)
def test_nobody_is_given_the_contact_of_somebody_else(pieces: Any, contacts: Any, parse: Parse) -> None:
    for event in parse(messages(*pieces, contacts=contacts)):
        assert isinstance(event, UnknownEvent) or event.sender_name is None  # type: ignore[attr-defined]
        assert Address("wa_user_id", "US.1") not in getattr(event, "sender", ())


def test_a_person_has_every_address_that_the_message_or_the_contact_names(parse: Parse) -> None:
    number, user_id, parent = "16505550143", "US.1", "US.ENT.1"
    addresses = (Address("e164", f"+{number}"), Address("wa_user_id", user_id), Address("wa_user_id", parent))
    told = {**TEXT, "from": number, "from_user_id": user_id, "from_parent_user_id": parent}
    contact = {"wa_id": number, "user_id": user_id, "parent_user_id": parent}
    for piece, contacts in ((told, []), (TEXT, [contact]), (told, [contact])):
        (event,) = parse(messages(piece, contacts=contacts))
        assert isinstance(event, InboundMessage)
        assert event.sender == addresses


def test_a_text_is_never_cut(parse: Parse) -> None:
    for length in (4097, 500_000):
        words = "x" * (length - 1) + "!"
        (event,) = parse(messages({**TEXT, "text": {"body": words}}))
        assert isinstance(event, InboundMessage)
        whole = event.content.body if isinstance(event.content, Text) else event.content.fields["body"]  # type: ignore[attr-defined]
        assert whole == words


def test_a_user_id_in_the_place_of_a_number(parse: Parse) -> None:
    (event,) = parse(messages({**TEXT, "from": "DE.1a2B"}, contacts=[{"wa_id": "DE.1a2B", "profile": {"name": "A"}}]))
    assert isinstance(event, InboundMessage)
    assert event.sender == (Address("wa_user_id", "DE.1a2B"),)
    assert event.sender_name == "A"


def test_times_as_numbers_milliseconds_or_text(parse: Parse) -> None:
    for value in (1794302100, "1794302100", 1794302100000):
        (event,) = parse(messages({**TEXT, "timestamp": value}))
        assert event.occurred_at == datetime.fromtimestamp(1794302100, UTC)


def test_unstorable_text_is_mended(parse: Parse) -> None:
    body = json.dumps(messages({**TEXT, "text": {"body": "a\ud83db\0c"}})).encode()
    (event,) = parse(WebhookRequest(method="POST", url="https://gw.test/", body=body))
    assert isinstance(event, InboundMessage)
    assert event.content == Text(body="a\ufffdb\ufffdc")


@pytest.mark.parametrize(
    "answers", ["[" * 230 + "]" * 230, "[" * 5000, '"\\ud800\\u0000"', "1" * 40, "NaN", "1e999", "{", ""]
)
def test_strange_answers_to_a_flow(answers: str, parse: Parse) -> None:
    flow = {"type": "nfm_reply", "nfm_reply": {"response_json": answers, "name": "flow"}}
    (event,) = parse(messages({**TEXT, "type": "interactive", "interactive": flow}))
    assert isinstance(event, InboundMessage)
    storable(event)


def test_a_thousand_updates_in_one_post(parse: Parse) -> None:
    pieces = [{"id": f"wamid.{n}", "status": "delivered", "timestamp": "1794302100"} for n in range(1000)]
    events = parse(statuses(*pieces))
    assert len({event.event_id for event in events}) == 1000


def test_many_messages_of_many_people_are_read_in_proportion(parse: Parse) -> None:
    numbers = [str(16505550000 + number) for number in range(4000)]
    pieces = [{**TEXT, "id": f"wamid.{number}", "from": number} for number in numbers]
    contacts = [{"wa_id": number, "profile": {"name": number}} for number in reversed(numbers)]
    document = messages(*pieces, contacts=contacts)
    began = time.process_time()
    events = parse(document)
    # A third of a second; searching 4000 contacts for each message takes ten times as long and more.
    assert time.process_time() - began < 2
    assert [event.sender_name for event in events if isinstance(event, InboundMessage)] == numbers


@pytest.mark.parametrize(
    ("pricing", "billable"),
    [
        ({"billable": False, "type": "regular"}, False),
        ({"type": "regular"}, True),
        ({"type": "free_entry_point"}, False),
        ({"category": "utility"}, None),
    ],
)
def test_billable_is_read_from_the_type_when_it_is_gone(pricing: Any, billable: bool | None, parse: Parse) -> None:
    _, event = parse(statuses({"id": "wamid.1", "status": "sent", "pricing": pricing}))
    assert isinstance(event, PriceUpdate)
    assert event.billable is billable


def test_the_same_price_on_two_statuses_is_one_event(parse: Parse) -> None:
    pricing = {"billable": True, "category": "utility", "pricing_model": "PMP", "type": "regular"}
    pieces = [{"id": "wamid.1", "status": word, "pricing": pricing} for word in ("sent", "delivered")]
    prices = [event.event_id for event in parse(statuses(*pieces)) if isinstance(event, PriceUpdate)]
    assert prices[0] == prices[1]


def test_participants_of_a_group_have_receipts_of_their_own(parse: Parse) -> None:
    piece = {"id": "wamid.1", "status": "read", "recipient_type": "group", "recipient_id": "g"}
    one, two = parse(statuses(*({**piece, "recipient_participant_id": str(16505550143 + n)} for n in range(2))))
    assert one.event_id != two.event_id


def test_participants_known_by_a_user_id_have_receipts_of_their_own(parse: Parse) -> None:
    piece = {"id": "wamid.1", "status": "read", "recipient_type": "group", "recipient_id": "g"}
    one, two = parse(statuses(*({**piece, "recipient_participant_user_id": f"US.{number}"} for number in range(2))))
    assert isinstance(one, DeliveryUpdate)
    assert isinstance(two, DeliveryUpdate)
    assert (one.participant, two.participant) == ("US.0", "US.1")
    assert one.event_id != two.event_id


def test_a_recipient_known_by_a_user_id(parse: Parse) -> None:
    (event,) = parse(statuses({"id": "wamid.1", "status": "read", "recipient_user_id": "US.1"}))
    assert isinstance(event, DeliveryUpdate)
    assert event.recipient == Address("wa_user_id", "US.1")


@pytest.mark.parametrize("errors", [None, [], "x", [{}], [{"code": "x"}], [{"code": 987654}], [{"code": 0}]])
def test_failures_without_a_known_code(errors: Any, parse: Parse) -> None:
    (event,) = parse(statuses({"id": "wamid.1", "status": "failed", "errors": errors}))
    assert isinstance(event, DeliveryUpdate)
    assert event.error_class == ("AccountBlocked" if errors == [{"code": 0}] else "Permanent")
    assert event.error_detail


def test_a_receipt_without_an_id_settles_by_correlation(parse: Parse) -> None:
    (event,) = parse(statuses({"status": "sent", "biz_opaque_callback_data": "att_1"}))
    assert isinstance(event, DeliveryUpdate)
    assert (event.provider_id, event.correlation) == (None, "att_1")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (
            "message_template_quality_update",
            {"message_template_name": "promo", "message_template_id": 1, "new_quality_score": "RED"},
            {"quality": "red", "template_id": "1"},
        ),
        (
            "template_category_update",
            {"message_template_name": "promo", "new_category": "MARKETING", "previous_category": "UTILITY"},
            {"category": "marketing", "template_id": "promo"},
        ),
    ],
)
def test_template_updates(field: str, value: Any, expected: dict[str, str], parse: Parse) -> None:
    (event,) = parse(envelope(field, value))
    assert isinstance(event, TemplateUpdate)
    assert {name: getattr(event, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("field", "value", "state"),
    [
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}, "blocked"),
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}, "ok"),
        ("account_update", {"event": "X", "ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}}, "warning"),
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "X"}}, "blocked"),
        ("account_update", {"event": "DISABLED_UPDATE"}, "blocked"),
        ("account_update", {"event": "ACCOUNT_DELETED"}, "blocked"),
        ("account_update", {"event": "ACCOUNT_RESTRICTION"}, "warning"),
        ("account_update", {"event": "ACCOUNT_VIOLATION"}, "warning"),
        ("account_update", {"event": "VERIFIED_ACCOUNT"}, "ok"),
        ("account_update", {"event": "PARTNER_ADDED"}, "info"),
        ("account_alerts", {"alert_type": "OBA_APPROVED"}, "warning"),
        ("account_review_update", {"decision": "APPROVED"}, "ok"),
        ("account_review_update", {"decision": "REJECTED"}, "warning"),
        ("account_review_update", {"decision": "DEFERRED"}, "info"),
        ("phone_number_quality_update", {"event": "FLAGGED"}, "warning"),
        ("phone_number_quality_update", {"event": "DOWNGRADE"}, "warning"),
        ("phone_number_quality_update", {"event": "UNFLAGGED"}, "ok"),
        ("phone_number_quality_update", {"event": "UPGRADE"}, "ok"),
        ("phone_number_quality_update", {"event": "ONBOARDING"}, "info"),
        ("phone_number_name_update", {"decision": "APPROVED"}, "info"),
        ("business_capability_update", {"max_phone_numbers_per_business": 2}, "info"),
        ("security", {"event": "DISABLED_UPDATE"}, "info"),
    ],
)
def test_account_updates(field: str, value: Any, state: str, parse: Parse) -> None:
    (event,) = parse(envelope(field, value, time=1794302100))
    assert isinstance(event, AccountUpdate)
    assert (event.topic, event.state) == (field, state)
    assert event.raw == {"field": field, "value": value}
    assert event.occurred_at == datetime.fromtimestamp(1794302100, UTC)


def test_news_without_a_time_of_their_own_have_their_entrys(parse: Parse) -> None:
    moment = datetime.fromtimestamp(1794302100, UTC)
    template = {"message_template_id": 1, "message_template_name": "promo", "event": "APPROVED"}
    (named,) = parse(envelope("message_template_status_update", template, time=1794302100))
    assert (named.occurred_at, named.raw["value"]) == (moment, template)
    problem = {"metadata": {"phone_number_id": NUMBER}, "errors": [{"code": 130429}]}
    (told,) = parse(envelope("messages", problem, time=1794302100))
    assert (told.occurred_at, told.raw, told.account_ref) == (moment, {"code": 130429}, NUMBER)


def test_the_same_news_on_another_day_is_another_event(parse: Parse) -> None:
    value = {"event": "FLAGGED", "display_phone_number": "15550001122"}
    ids = [parse(envelope("phone_number_quality_update", value, time=t))[0].event_id for t in (1794302100, 1794402100)]
    assert ids[0] != ids[1]


def test_account_news_belong_to_the_gateway_whose_url_they_came_by(
    plugin: WhatsApp, webhook_ctx: WebhookContext, account: WhatsAppSettings
) -> None:
    ctx = WebhookContext(provider_app=webhook_ctx.provider_app, account=account, log=None, now=webhook_ctx.now)
    body = json.dumps(envelope("account_update", {"event": "PARTNER_ADDED"})).encode()
    (event,) = plugin.parse_event(ctx, WebhookRequest(method="POST", url="https://gw.test/", body=body))
    assert event.account_ref == NUMBER


@pytest.mark.parametrize("preference", [7, {}, {"wa_id": "16505550143", "value": "maybe"}, {"value": "stop"}])
def test_unknown_preferences_are_kept(preference: Any, parse: Parse) -> None:
    (event,) = parse(envelope("user_preferences", {"user_preferences": [preference]}))
    assert isinstance(event, UnknownEvent)


def test_a_person_who_signs_up_by_user_id(parse: Parse) -> None:
    piece = {"user_id": "US.1", "value": "signup", "category": "marketing_messages", "timestamp": 1794305100}
    (event,) = parse(envelope("user_preferences", {"user_preferences": [piece]}))
    assert isinstance(event, ConsentChange)
    assert (event.address, event.state) == (Address("wa_user_id", "US.1"), "opted_in")
    # When the person chose, not when Meta told it: a later choice must win, whichever comes first.
    assert event.occurred_at == datetime.fromtimestamp(1794305100, UTC)
    assert event.raw == piece


def test_another_category_of_preference_is_a_scope_of_its_own(parse: Parse) -> None:
    piece = {"wa_id": "16505550143", "value": "stop", "category": "utility_messages"}
    document = envelope("user_preferences", {"user_preferences": [piece, {**piece, "category": None}]}, time=1794302100)
    other, everything = parse(document)
    assert isinstance(other, ConsentChange)
    assert isinstance(everything, ConsentChange)
    assert (other.scope, everything.scope) == ("utility_messages", "all")
    assert other.occurred_at == datetime.fromtimestamp(1794302100, UTC)


async def test_the_handshake(plugin: WhatsApp, webhook_ctx: WebhookContext) -> None:
    def request(token: str, mode: str = "subscribe") -> WebhookRequest:
        query = (("hub.mode", mode), ("hub.challenge", "1158201444"), ("hub.verify_token", token))
        return WebhookRequest(method="GET", url="https://gw.example.test/", query=query)

    verdict = await plugin.verify_webhook(webhook_ctx, request("fixture-verify-wa-2f9c"))
    assert isinstance(verdict, Challenge)
    assert (verdict.reply.status, verdict.reply.body) == (200, b"1158201444")
    for wrong in (request("nope"), request("é\udcff"), request(""), request("fixture-verify-wa-2f9c", "unsubscribe")):
        assert isinstance(await plugin.verify_webhook(webhook_ctx, wrong), Rejected)
