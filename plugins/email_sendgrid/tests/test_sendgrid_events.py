"""The Event Webhook: every documented event, copies, and what nobody documented."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_json import ODDITIES
from waypost.plugin import (
    AccountUpdate,
    Address,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    UnknownEvent,
    WebhookRequest,
)
from waypost.plugin.errors import ERROR_CLASSES
from waypost.plugin.signatures import sha256_hex
from waypost_email_sendgrid.address import fingerprint
from waypost_email_sendgrid.bounces import bounce, drop
from waypost_email_sendgrid.channel import email

ADA = Address("email", "ada.okafor@example.com")
MESSAGE_ID = "14c5d75ce93mQ7wUfZx1kA"
FIXTURES = Path(__file__).parent / "fixtures" / "webhooks"


def batch(*events: object) -> WebhookRequest:
    body = b"[" + b",\r\n".join(json.dumps(event).encode() for event in events) + b"]\r\n"
    return WebhookRequest(
        method="POST", url="https://x", headers=(("content-type", "application/json;charset=utf-8"),), body=body
    )


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


RECEIPTS = {
    "event_processed.json": ("sent", 1794302101, None, None),
    "event_processed_pool.json": ("sent", 1794302101, None, None),
    "event_delivered.json": ("delivered", 1794302103, None, None),
    "event_category_string.json": ("delivered", 1794302103, None, None),
    "event_bounce.json": ("undelivered", 1794302104, "bounce:5.1.1", "InvalidRecipient"),
    "event_bounce_blocked.json": ("undelivered", 1794302105, "blocked:5.7.1", "Permanent"),
    "event_dropped_bounced_address.json": ("failed", 1794302106, "dropped:bounced_address", "InvalidRecipient"),
    "event_dropped_unsubscribed.json": ("failed", 1794302106, "dropped:unsubscribed_address", "OptedOut"),
    "event_dropped_spam_reporting.json": ("failed", 1794302106, "dropped:spam_reporting_address", "OptedOut"),
    "event_dropped_invalid.json": ("failed", 1794302106, "dropped:invalid", "InvalidRecipient"),
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_receipt(name, delivery) -> None:
    status, seconds, code, error_class = RECEIPTS[name]
    request = delivery(name)
    (event,) = email.parse_event(request)
    (written,) = json.loads(request.body)
    assert isinstance(event, DeliveryUpdate)
    assert (event.status, event.occurred_at) == (status, at(seconds))
    assert (event.error_code, event.error_class) == (code, error_class)
    assert event.provider_id == MESSAGE_ID
    assert event.event_id == written["sg_event_id"]
    assert event.participant == written["email"]
    assert event.raw == written
    assert written["email"] not in (event.error_detail or "")
    if error_class:
        assert error_class in ERROR_CLASSES
        assert event.error_detail


def test_a_deferral_is_a_note_and_no_status(delivery) -> None:
    (event,) = email.parse_event(delivery("event_deferred.json"))
    assert isinstance(event, Engagement)
    assert (event.action, event.provider_id, event.sender) == ("other", MESSAGE_ID, (ADA,))
    assert event.detail == {"event": "deferred", "attempt": "1", "copy": False}
    assert event.occurred_at == at(1794302102)


@pytest.mark.parametrize(("attempt", "told"), [("1", "1"), (2, 2), ([3], None), (True, None), (None, None)])
def test_a_deferral_tells_the_attempt_where_it_is_one(attempt, told, delivery) -> None:
    (written,) = json.loads(delivery("event_deferred.json").body)
    (event,) = email.parse_event(batch({**written, "attempt": attempt}))
    assert event.detail == {"event": "deferred", "attempt": told, "copy": False}


@pytest.mark.parametrize(("name", "machine"), [("event_open.json", False), ("event_open_machine.json", True)])
def test_an_open_is_an_engagement(name, machine, delivery) -> None:
    (event,) = email.parse_event(delivery(name))
    assert isinstance(event, Engagement)
    assert (event.action, event.provider_id, event.sender) == ("open", MESSAGE_ID, (ADA,))
    assert event.detail["machine"] is machine


def test_a_click_is_an_engagement(delivery) -> None:
    (event,) = email.parse_event(delivery("event_click.json"))
    assert isinstance(event, Engagement)
    assert (event.action, event.provider_id, event.sender) == ("click", MESSAGE_ID, (ADA,))
    assert event.detail["url"] == "https://shop.example.test/orders/42?utm=a%20b"


@pytest.mark.parametrize(
    ("name", "state", "scope", "seconds"),
    [
        ("spamreport", "opted_out", "all", 1794302600),
        ("unsubscribe", "opted_out", "all", 1794302700),
        ("group_unsubscribe", "opted_out", "14", 1794302800),
        ("group_resubscribe", "opted_in", "14", 1794302900),
    ],
)
def test_consent_changes(name, state, scope, seconds, delivery) -> None:
    (event,) = email.parse_event(delivery(f"event_{name}.json"))
    assert isinstance(event, ConsentChange)
    assert (event.address, event.state, event.scope, event.reason) == (ADA, state, scope, name)
    assert event.occurred_at == at(seconds)


@pytest.mark.parametrize(("group", "scope"), [("news", "news"), ("9" * 500, "9" * 200), (10**18, str(10**18))])
def test_a_group_is_a_scope_of_consent_whatever_its_name(group, scope, delivery) -> None:
    (written,) = json.loads(delivery("event_group_unsubscribe.json").body)
    (event,) = email.parse_event(batch({**written, "asm_group_id": group}))
    assert isinstance(event, ConsentChange)
    assert (event.scope, event.state) == (scope, "opted_out")


def test_an_account_alert(delivery) -> None:
    (event,) = email.parse_event(delivery("event_account_status_change.json"))
    assert isinstance(event, AccountUpdate)
    assert (event.topic, event.state, event.detail) == ("account_status_change", "blocked", "compliance_suspend")
    assert event.event_id == "RD6gXFqYeKeO7G-HsgafOg9V1Jf7HoKI1TrMY963"


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("compliance_suspend", "blocked"), ("compliance_ban", "blocked"), ("compliance_deactivate", "blocked"),
        ("Terminated", "blocked"), ("compliance_reactivate", "info"), ("package_upgrade", "info"), ("", "info"),
    ],
)  # fmt: skip
def test_which_news_of_an_account_stop_it(kind: str, state: str, delivery) -> None:
    (written,) = json.loads(delivery("event_account_status_change.json").body)
    (event,) = email.parse_event(batch({**written, "type": kind}))
    assert (event.state, event.detail) == (state, kind)


@pytest.mark.parametrize("kind", ["suspended: ada@example.com", "suspendü", "two words", "٣", "", 7])
def test_an_account_alert_shows_no_words_but_sendgrid_s_own(kind, delivery) -> None:
    (written,) = json.loads(delivery("event_account_status_change.json").body)
    (event,) = email.parse_event(batch({**written, "type": kind}))
    assert isinstance(event, AccountUpdate)
    assert event.detail == ""


def test_an_address_that_we_would_not_write_to_has_a_will_too(delivery) -> None:
    (written,) = json.loads(delivery("event_unsubscribe.json").body)
    (event,) = email.parse_event(batch({**written, "email": "root@localhost"}))
    assert isinstance(event, ConsentChange)
    assert event.address == Address("email", "root@localhost")


def test_a_click_on_what_is_no_link_is_one(delivery) -> None:
    (written,) = json.loads(delivery("event_click.json").body)
    (event,) = email.parse_event(batch({**written, "url": ["x"]}))
    assert event.detail == {"event": "click", "url": None, "copy": False}


def test_a_batch_keeps_its_order(delivery) -> None:
    kinds = [type(event).__name__ for event in email.parse_event(delivery("batch_lifecycle.json"))]
    assert kinds == ["DeliveryUpdate", "DeliveryUpdate", "Engagement", "Engagement"]
    everything = email.parse_event(delivery("batch_all_event_types.json"))
    assert len(everything) == 17
    assert not [event for event in everything if isinstance(event, UnknownEvent)]
    assert len({event.event_id for event in everything}) == 17


def test_two_recipients_share_an_id_and_are_told_apart(delivery) -> None:
    events = email.parse_event(delivery("batch_two_recipients_mixed.json"))
    assert [(event.participant, event.status) for event in events] == [
        ("ada.okafor@example.com", "sent"),
        ("bo@example.org", "sent"),
        ("ada.okafor@example.com", "undelivered"),
        ("bo@example.org", "delivered"),
    ]
    assert {event.provider_id for event in events} == {MESSAGE_ID}


def test_a_copy_s_receipts_move_no_status(delivery) -> None:
    request = delivery("batch_two_recipients_mixed.json")
    ours = {"waypost_ref": "att_1", "waypost_to": fingerprint("att_1", "Ada.Okafor@example.com")}
    events = email.parse_event(batch(*({**event, **ours} for event in json.loads(request.body))))
    about_ada = [event for event in events if isinstance(event, DeliveryUpdate)]
    about_bo = [event for event in events if isinstance(event, Engagement)]
    assert [event.status for event in about_ada] == ["sent", "undelivered"]
    assert {event.correlation for event in events} == {"att_1"}
    assert [(event.action, event.detail["event"], event.detail["copy"]) for event in about_bo] == [
        ("other", "processed", True),
        ("other", "delivered", True),
    ]
    assert {event.sender for event in about_bo} == {(Address("email", "bo@example.org"),)}


@pytest.mark.parametrize("name", ["open", "click"])
def test_what_a_copy_did_is_marked(name: str, delivery) -> None:
    (written,) = json.loads(delivery(f"event_{name}.json").body)
    for main, copy in (("someone.else@example.com", True), (written["email"], False)):
        ours = {"waypost_ref": "att_1", "waypost_to": fingerprint("att_1", main)}
        (event,) = email.parse_event(batch({**written, **ours}))
        assert (event.action, event.detail["copy"]) == (name, copy)


def test_every_event_of_a_message_names_it_and_our_correlation(delivery) -> None:
    written = json.loads(delivery("batch_all_event_types.json").body)
    events = email.parse_event(batch(*({**event, "waypost_ref": "att_1"} for event in written)))
    assert [(event.correlation, event.provider_id) for event in events] == [("att_1", MESSAGE_ID)] * len(written)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"event": "brand_new"}, "the type of the event is not known"),
        ({"event": "delivered"}, "a receipt that names no message"),
        ({"event": "unsubscribe", "email": "nobody"}, "a change of consent without an address"),
        ({"event": "group_unsubscribe", "email": "ada@example.com"},
         "a change of consent for a group without its number"),
        ({"event": "group_unsubscribe", "email": "ada@example.com", "asm_group_id": ""},
         "a change of consent for a group without its number"),
    ],
)  # fmt: skip
def test_what_is_not_known_says_when_and_why(fields, reason) -> None:
    written = {**fields, "sg_event_id": "e1", "timestamp": 1794302103}
    (event,) = email.parse_event(batch(written))
    assert event == UnknownEvent(event_id="e1", occurred_at=at(1794302103), raw=written, reason=reason)


def test_an_address_that_is_none_is_not_compared_with_the_recipient_s() -> None:
    written = {"event": "delivered", "sg_message_id": "a.b", "waypost_ref": "att_1", "waypost_to": "x", "email": 7}
    (event,) = email.parse_event(batch(written))
    assert isinstance(event, DeliveryUpdate)
    assert (event.correlation, event.participant) == ("att_1", None)


def test_ids_that_are_too_long_to_be_sendgrid_s_are_none() -> None:
    for length, found in ((200, "x" * 200), (201, None)):
        (event,) = email.parse_event(batch({"event": "open", "sg_message_id": "x" * length + ".y"}))
        assert event.provider_id == found
    for length, found in ((400, "x" * 400), (401, None)):
        (event,) = email.parse_event(batch({"event": "open", "waypost_ref": "x" * length}))
        assert event.correlation == found


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.json")))
def test_the_same_delivery_gives_the_same_events(name, delivery) -> None:
    request = delivery(name)
    assert email.parse_event(request) == email.parse_event(request)
    alone = [email.parse_event(batch(piece))[0].event_id for piece in reversed(json.loads(request.body))]
    assert alone[::-1] == [event.event_id for event in email.parse_event(request)]


@pytest.mark.parametrize(
    ("fields", "code", "error_class"),
    [
        ({"type": "bounce", "bounce_classification": "Mailbox Unavailable", "status": "4.2.2"}, "bounce:4.2.2",
         "InvalidRecipient"),
        ({"type": "bounce", "bounce_classification": "Content"}, "bounce", "ContentRejected"),
        ({"type": "bounce", "bounce_classification": "Unclassified"}, "bounce", "Permanent"),
        ({"type": "bounce", "status": "5.1.10"}, "bounce:5.1.10", "InvalidRecipient"),
        ({"type": "bounce", "status": "5.7.1"}, "bounce:5.7.1", "Permanent"),
        ({"type": "bounce", "bounce_classification": "Content", "status": "5.1.1"}, "bounce:5.1.1",
         "ContentRejected"),
        ({"type": "bounce", "bounce_classification": "Technical", "status": "5.0.0"}, "bounce:5.0.0", "Permanent"),
        ({"type": "bounce", "bounce_classification": "Frequency or Volume Too High"}, "bounce", "Permanent"),
        ({"bounce_classification": "Technical"}, "bounce", "Permanent"),
        ({"type": "bounce"}, "bounce", "Permanent"),
        ({}, "bounce", "Permanent"),
        ({"type": "blocked"}, "blocked", "Transient"),
        ({"type": "blocked", "bounce_classification": "Technical"}, "blocked", "Transient"),
        ({"type": "blocked", "bounce_classification": "Frequency or Volume Too High"}, "blocked", "RateLimited"),
        ({"type": "expired"}, "expired", "Transient"),
        ({"type": "expired", "bounce_classification": "Unclassified"}, "expired", "Transient"),
        ({"type": "expired", "bounce_classification": "Mailbox Unavailable"}, "expired", "InvalidRecipient"),
        ({"type": "new kind ada@example.com", "status": "ada@example.com"}, "bounce", "Permanent"),
        ({"type": 7, "status": 5, "bounce_classification": ["x"]}, "bounce", "Permanent"),
    ],
)  # fmt: skip
def test_why_it_bounced(fields, code, error_class) -> None:
    failure = bounce(fields)
    assert (failure.status, failure.code, failure.error_class) == ("undelivered", code, error_class)
    assert error_class in ERROR_CLASSES


@pytest.mark.parametrize(
    ("classification", "title"),
    [
        ("Invalid Address", "The mailbox does not exist."),
        ("Mailbox Unavailable", "The mailbox is full, disabled or unavailable."),
        ("Content", "The recipient's server refused the content."),
        ("Reputation", "The recipient's server refused the sender's reputation."),
        ("Frequency or Volume Too High", "The recipient's server found the mails too many."),
        ("Technical", "The recipient's server had a technical fault."),
        ("Unclassified", "The recipient's server refused the mail."),
        ("Brand New", "The recipient's server refused the mail this time."),
    ],
)
def test_every_documented_classification_says_more_than_the_type(classification, title) -> None:
    assert bounce({"type": "blocked", "bounce_classification": classification}).title == title


@pytest.mark.parametrize(
    ("reason", "code", "error_class"),
    [
        ("Bounced Address", "dropped:bounced_address", "InvalidRecipient"),
        ("Unsubscribed Address", "dropped:unsubscribed_address", "OptedOut"),
        ("Spam Reporting Address", "dropped:spam_reporting_address", "OptedOut"),
        ("Invalid", "dropped:invalid", "InvalidRecipient"),
        ("Invalid SMTPAPI header", "dropped:invalid_smtpapi_header", "ContentRejected"),
        ("Spam Content", "dropped:spam_content", "ContentRejected"),
        ("Recipient List over Package Quota", "dropped:recipient_list_over_package_quota", "AccountBlocked"),
        ("Because ada@example.com said so", "dropped", "Permanent"),
        (None, "dropped", "Permanent"),
        ({"x": 1}, "dropped", "Permanent"),
    ],
)
def test_why_it_was_dropped(reason, code, error_class) -> None:
    failure = drop({"reason": reason})
    assert (failure.status, failure.code, failure.error_class) == ("failed", code, error_class)
    assert error_class in ERROR_CLASSES


def test_a_late_bounce_without_ids_is_kept_and_matched_to_nothing(delivery) -> None:
    (written,) = json.loads(delivery("event_bounce.json").body)
    for name in ("sg_message_id", "smtp-id"):
        del written[name]
    (event,) = email.parse_event(batch(written))
    assert isinstance(event, UnknownEvent)
    assert event.raw == written
    (found,) = email.parse_event(batch({**written, "waypost_ref": "att_1"}))
    assert isinstance(found, DeliveryUpdate)
    assert (found.provider_id, found.correlation) == (None, "att_1")


@pytest.mark.parametrize(
    "strange",
    [
        7, None, "text", [], ["x"], {}, {"event": 7}, {"event": None}, {"event": "brand_new"}, {"event": ["open"]},
        {"event": "unsubscribe"}, {"event": "unsubscribe", "email": 7}, {"event": "unsubscribe", "email": "nobody"},
        {"event": "group_unsubscribe", "email": "ada@example.com"},
        {"event": "group_unsubscribe", "email": "ada@example.com", "asm_group_id": True},
        {"event": "delivered"}, {"event": "delivered", "sg_message_id": 7}, {"event": "delivered", "sg_message_id": ""},
        {"event": "bounce", "sg_message_id": "\u0000.x"},
    ],
)  # fmt: skip
def test_a_strange_piece_is_kept_and_harms_no_neighbour(strange, delivery) -> None:
    (good,) = json.loads(delivery("event_delivered.json").body)
    first, middle, last = email.parse_event(batch(good, strange, {**good, "sg_event_id": "other"}))
    assert isinstance(first, DeliveryUpdate)
    assert isinstance(last, DeliveryUpdate)
    assert isinstance(middle, UnknownEvent)
    kept = json.loads(json.dumps(strange).replace("\\u0000", "\ufffd"))  # no database holds a NUL
    assert middle.raw == (kept if isinstance(kept, dict) else {"value": kept})
    assert middle.event_id == email.parse_event(batch(strange))[0].event_id


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("key", ["anything", "email", "sg_event_id", "timestamp", "sg_message_id"])
def test_whatever_a_value_is_its_neighbours_are_applied(key: str, oddity: bytes, delivery) -> None:
    (good,) = json.loads(delivery("event_delivered.json").body)
    odd = json.dumps({**good, key: "ODDITY"}).encode().replace(b'"ODDITY"', oddity)
    body = b"[" + b",".join([json.dumps(good).encode(), odd, json.dumps({**good, "sg_event_id": "z"}).encode()]) + b"]"
    first, strange, last = email.parse_event(dataclasses.replace(batch(), body=body))
    assert (first.event_id, last.event_id) == (good["sg_event_id"], "z")
    assert isinstance(first, DeliveryUpdate)
    assert isinstance(last, DeliveryUpdate)
    assert first.provider_id == last.provider_id == good["sg_message_id"].partition(".")[0]
    assert "\\u0000" not in json.dumps(dict(strange.raw), allow_nan=False)
    orjson.dumps(dict(strange.raw))


@pytest.mark.parametrize(
    ("timestamp", "moment"),
    [
        (1794302103, at(1794302103)),
        ("1794302103", at(1794302103)),
        (1794302103.5, datetime.fromtimestamp(1794302103.5, UTC)),
        (10**18, None),
        (-(10**18), None),
        ("soon", None),
        ("١٧٩٤٣٠٢١٠٣", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_times(timestamp, moment) -> None:
    (event,) = email.parse_event(batch({"event": "delivered", "sg_message_id": "a.b", "timestamp": timestamp}))
    assert event.occurred_at == moment


@pytest.mark.parametrize("sg_event_id", [None, 7, "", "x" * 1000, "a\x00b", "a\nb"])
def test_an_event_without_a_usable_id_gets_one_from_its_own_words(sg_event_id) -> None:
    piece = {"event": "delivered", "sg_message_id": "a.b", "sg_event_id": sg_event_id, "email": "ada@example.com"}
    (event,) = email.parse_event(batch(piece))
    assert event.event_id.startswith("piece:")
    assert event.event_id == email.parse_event(batch({}, dict(reversed(piece.items()))))[1].event_id
    assert event.event_id != email.parse_event(batch({**piece, "email": "bo@example.com"}))[0].event_id


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"7", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000],
)
def test_a_body_that_is_no_batch_is_kept(body: bytes) -> None:
    (event,) = email.parse_event(dataclasses.replace(batch(), body=body))
    assert event == UnknownEvent(
        event_id=f"body:{sha256_hex(body)[:40]}",
        raw={"body": body.decode("utf-8", "replace")},
        reason="the body is not a JSON list of events",
    )


def test_a_single_object_is_taken_for_a_batch_of_one(delivery) -> None:
    (written,) = json.loads(delivery("event_delivered.json").body)
    (event,) = email.parse_event(dataclasses.replace(batch(), body=json.dumps(written).encode()))
    assert isinstance(event, DeliveryUpdate)
    assert email.parse_event(batch()) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
KINDS = ["processed", "delivered", "bounce", "dropped", "deferred", "open", "click", "spamreport", "unsubscribe",
         "group_unsubscribe", "group_resubscribe", "account_status_change", "new"]  # fmt: skip
FIELDS = ["email", "timestamp", "sg_event_id", "sg_message_id", "waypost_ref", "waypost_to", "type", "status", "reason",
          "bounce_classification", "asm_group_id", "attempt", "url", "sg_machine_open", "category"]  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    piece=st.fixed_dictionaries({"event": st.sampled_from(KINDS)}, optional=dict.fromkeys(FIELDS, JSON)) | JSON,
)
def test_no_payload_makes_it_raise(piece, delivery) -> None:
    (good,) = json.loads(delivery("event_delivered.json").body)
    request = batch(good, piece)
    events = email.parse_event(request)
    assert len(events) == 2
    assert isinstance(events[0], DeliveryUpdate)
    assert all(0 < len(event.event_id) <= 400 for event in events)
    assert events == email.parse_event(request)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "text/plain", ""]))
def test_no_body_makes_it_raise(body: bytes, kind: str) -> None:
    request = WebhookRequest(method="POST", url="https://x", headers=(("content-type", kind),), body=body)
    email.parse_event(request)
