"""What a message becomes on the wire, what it costs, and what is refused before credit is held."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from waypost.plugin import (
    Address,
    ContentRejected,
    Email,
    InvalidRecipient,
    Location,
    Misconfigured,
    NoSettings,
    OutboundMessage,
    Permanent,
    SecretStr,
    Template,
    Text,
    Unsupported,
)
from waypost_email_sendgrid.address import fingerprint
from waypost_email_sendgrid.channel import email
from waypost_email_sendgrid.draft import MAX_BYTES, compose
from waypost_email_sendgrid.payloads import mail_send_body
from waypost_email_sendgrid.settings import SendGridAccount
from waypost_email_sendgrid.simulator_rules import problems_of

REF = "01JC9Q2V8N"
TO = "ada.okafor@example.com"
OURS = {"waypost_ref": REF, "waypost_to": fingerprint(REF, TO)}


@pytest.fixture
def body(context, message):
    def make(content, *, ctx=None, **changes):
        return mail_send_body(compose(ctx or context(), message(content, **changes)))

    return make


def test_a_full_mail_is_the_documented_request(body, exchange, account, context) -> None:
    documented = exchange("mail_send_full")["request"]["body"]
    content = Email(
        subject="Your order A-42",
        text="Shipped",
        html="<p>Shipped</p>",
        from_name="Shop",
        reply_to="Support <support@in.shop.example.test>",
        cc=("cc@example.com",),
        bcc=("bcc@example.com",),
        headers={"In-Reply-To": "<CAEx+1@mail.example.com>"},
        categories=("order-updates",),
        attachments=tuple(
            {
                "filename": file["filename"],
                "data": file["content"],
                "mime_type": file["type"],
                "content_id": file.get("content_id"),
            }
            for file in documented["attachments"]
        ),
        unsubscribe_group=14,
    )
    options = {
        "to_name": "Ada Okafor",
        "custom_args": {"gw_message_id": REF, "tenant": "acme"},
        "groups_to_display": [14],
        "open_tracking": True,
        "click_tracking": True,
    }
    made = body(content, options=options)
    # The document sets these in the envelope and spells out defaults; the rest is equal to the letter.
    envelope = documented["personalizations"][0]
    documented["subject"] = envelope.pop("subject")
    envelope.pop("headers")
    envelope["custom_args"].update(OURS)
    documented.pop("mail_settings")
    documented["tracking_settings"]["click_tracking"]["enable_text"] = True
    assert made == documented


def test_a_template_is_the_documented_request(body, exchange) -> None:
    documented = exchange("mail_send_dynamic_template")["request"]["body"]
    envelope = documented["personalizations"][0]
    content = Email(template_id=documented["template_id"], variables=envelope["dynamic_template_data"])
    made = body(content, options={"custom_args": {"gw_message_id": "01JC9Q2V8P"}})
    envelope["custom_args"].update(OURS)
    assert made == documented


def test_a_template_kind_has_its_variables(body) -> None:
    made = body(Template(template_id="d-1", variables={"first_name": "Ada"}))
    assert made["template_id"] == "d-1"
    assert made["personalizations"][0]["dynamic_template_data"] == {"first_name": "Ada"}
    assert "content" not in made
    assert "subject" not in made


def test_text_is_a_plain_mail_with_the_subject_of_the_options(body) -> None:
    made = body(Text(body="Hello"), options={"subject": "News"})
    assert made["subject"] == "News"
    assert made["content"] == [{"type": "text/plain", "value": "Hello"}]


def test_sandbox_mode_is_the_documented_request(body, exchange, account, context) -> None:
    sandboxed = context(account=account.model_copy(update={"sandbox": True}))
    made = body(Email(subject="s", text="x"), ctx=sandboxed, to="a@example.com")
    made["personalizations"][0].pop("custom_args")
    assert made == exchange("mail_send_sandbox")["request"]["body"]


def test_everything_else_that_can_be_asked(body, context) -> None:
    send_at = int(context().now.timestamp()) + 3600
    made = body(
        Email(subject="s", html="<p>x</p>", categories=("b", "a", "b"), send_at=send_at),
        options={
            "ip_pool_name": "transactional",
            "batch_id": "HkJ5yLYULb7Rj8GKSx7u025ouWVlMgAi",
            "open_tracking": False,
            "custom_args": {"n": 1, "yes": True},
            "another_channels_option": {"kept": "out"},
        },
        reply_to="<CAEx+1@mail.example.com>",
    )
    assert made["send_at"] == send_at
    assert made["categories"] == ["b", "a"]
    assert made["ip_pool_name"] == "transactional"
    assert made["batch_id"] == "HkJ5yLYULb7Rj8GKSx7u025ouWVlMgAi"
    assert made["tracking_settings"] == {"open_tracking": {"enable": False}}
    assert made["personalizations"][0]["custom_args"] == {"n": "1", "yes": "true", **OURS}
    assert made["headers"] == {
        "In-Reply-To": "<CAEx+1@mail.example.com>",
        "References": "<CAEx+1@mail.example.com>",
    }
    assert made["content"] == [{"type": "text/html", "value": "<p>x</p>"}]
    assert "another_channels_option" not in str(made)


def test_a_text_that_begins_like_a_key_is_sent(body) -> None:
    made = body(Email(subject="s", text="SG.heysheep.sg is our new address"))
    assert made["content"][0]["value"].startswith("SG.heysheep")


def test_an_address_that_comes_twice_is_written_to_once(body, context, message) -> None:
    content = Email(
        subject="s",
        text="x",
        cc=("ADA.okafor@example.com", "bo@example.org"),
        bcc=("Bo <bo@EXAMPLE.org>", "cy@example.org", "cy@example.org"),
    )
    envelope = body(content)["personalizations"][0]
    assert [entry["email"] for entry in envelope["cc"]] == ["bo@example.org"]
    assert [entry["email"] for entry in envelope["bcc"]] == ["cy@example.org"]
    (line,) = email.price(context(), message(content)).lines
    assert (line.sku, line.quantity, line.charge_on) == ("email", 3, "sent")


def test_an_id_of_ours_is_no_reference(body) -> None:
    assert "headers" not in body(Email(subject="s", text="x"), reply_to="0123456789abcdef")


def test_where_answers_go_is_not_taken_for_what_is_answered(context, message) -> None:
    with pytest.raises(ContentRejected, match="where answers go is the email's own reply_to"):
        email.price(context(), message(Email(subject="s", text="x"), reply_to="support@shop.example.com"))


def test_two_hundred_international_copies_are_checked_in_a_moment(context, message) -> None:
    cc = tuple(f"имя{number}@пример.example" for number in range(100))
    bcc = tuple(f"имя{number}@ПРИМЕР.example" for number in range(50, 150))
    started = time.perf_counter()
    (line,) = email.price(context(), message(Email(subject="s", text="x", cc=cc, bcc=bcc))).lines
    assert line.quantity == 151
    assert time.perf_counter() - started < 1


def test_the_sender_is_the_message_s_or_the_account_s(body, account, context) -> None:
    named = context(account=account.model_copy(update={"from_name": "Shop"}))
    content = Email(subject="s", text="x")
    assert body(content, ctx=named)["from"] == {"email": "orders@shop.example.test", "name": "Shop"}
    assert body(content, ctx=named, sender="other@shop.example.test")["from"] == {"email": "other@shop.example.test"}
    assert body(content, ctx=named, sender="Bo <bo@example.org>")["from"] == {"email": "bo@example.org", "name": "Bo"}


def test_without_any_sender_it_is_misconfigured(context, message) -> None:
    bare = context(account=SendGridAccount(api_key=SecretStr("SG.x.y")))
    with pytest.raises(Misconfigured, match="No sender"):
        email.price(bare, message(Email(subject="s", text="x")))
    with pytest.raises(Misconfigured):
        email.price(context(account=NoSettings()), message(Email(subject="s", text="x")))


BIG = "eHh4" * (MAX_BYTES // 4 + 1)

REFUSED = {
    "no subject": Email(text="x"),
    "no body": Email(subject="s"),
    "plain text without a subject": Text(body="x"),
    "variables without a template": Email(subject="s", text="Hello {{name}}", variables={"name": "Ada"}),
    "template and body": Email(template_id="d-1", text="x"),
    "a legacy template": Template(template_id="5997fcf6-2b9f-484d-acd5-7e9a99f0dc1f"),
    "too large": Email(subject="s", text="x", attachments=({"filename": "f", "data": BIG},)),
    "not base64": Email(subject="s", text="x", attachments=({"filename": "f", "data": "not base64!"},)),
    "no mime type": Email(subject="s", text="x", attachments=({"filename": "f", "data": "eA==", "mime_type": "x"},)),
    "mime parameters": Email(
        subject="s", text="x", attachments=({"filename": "f", "data": "eA==", "mime_type": "text/plain; charset=x"},)
    ),
    "too late": Email(subject="s", text="x", send_at=4_000_000_000),
    "before all time": Email(subject="s", text="x", send_at=-1),
    "a long category": Email(subject="s", text="x", categories=("c" * 256,)),
    "an empty category": Email(subject="s", text="x", categories=("",)),
    "cc is no address": Email(subject="s", text="x", cc=("bo",)),
    "reply-to is no address": Email(subject="s", text="x", reply_to="support"),
    "a group out of range": Email(subject="s", text="x", unsubscribe_group=1 << 70),
    "variables beyond JSON": Email(template_id="d-1", variables={"n": 1 << 70}),
    "a header without end": Email(subject="s", text="x", headers={"X-A": "ü" * 10_001}),
    "half a surrogate pair": Email(template_id="d-1", variables={"n": "\ud800"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_content_that_can_never_go_is_refused_at_the_price(name, context, message) -> None:
    with pytest.raises(ContentRejected):
        email.price(context(), message(REFUSED[name]))


@pytest.mark.parametrize(
    "options",
    [
        {"custom_args": {"waypost_ref": "stolen"}},
        {"custom_args": {"email": "x"}},
        {"custom_args": {"sg_event_id": "x"}},
        {"custom_args": {"big": "x" * 10_000}},
        {"custom_args": {"list": ["x"]}},
        {"custom_args": "x"},
        {"subject": 7},
        {"ip_pool_name": "p\r\nq"},
        {"ip_pool_name": "p"},
        {"batch_id": "\ud800"},
        {"groups_to_display": list(range(1, 30))},
        {"groups_to_display": [14]},
        {"groups_to_display": [1 << 70]},
    ],
)
def test_wrong_options_are_refused_at_the_price(options, context, message) -> None:
    with pytest.raises(ContentRejected):
        email.price(context(), message(Email(subject="s", text="x"), options=options))


@pytest.mark.parametrize(
    "beside",
    [
        {"headers": {f"X-{number}": "ü" * 10_000 for number in range(50)}},
        {"cc": [f"{'n' * 200} <{number}@bücher.example>" for number in range(100)], "bcc": ["bo@bücher.example"]},
        {"categories": ["ü" * 255] * 10, "reply_to": f"{'n' * 250} <a@example.com>", "from_name": "ü" * 255},
    ],
)
def test_what_is_accepted_is_no_larger_than_sendgrid_takes(beside, body, message) -> None:
    """The limit is on the whole request: one that passed and was 413 held credit for nothing."""
    options = {"custom_args": {"a": '"' * 9800}, "to_name": "ü" * 255, "subject": "ü" * 900}

    def of(size: int) -> Email:
        data = "eHh4" * (size // 4)
        return Email.model_validate({"html": "x", "attachments": [{"filename": "ü" * 255, "data": data}], **beside})

    headers = sum(len(value.encode()) for value in body(of(4), options=options).get("headers", {}).values())
    request = body(of(MAX_BYTES - 100_000 - headers), options=options)
    assert len(orjson.dumps(request)) <= MAX_BYTES
    with pytest.raises(ContentRejected):
        body(of(MAX_BYTES - 1000 - headers), options=options)


MAILBOXES = st.sampled_from(
    [
        "bo@example.org", "Bo <bo@example.org>", "BO@EXAMPLE.ORG", '"Doe, J" <d@example.com>', "имя@пример.example",
        "x@bücher.example", "x@xn--bcher-kva.example", '"quoted local"@x.io', "x@[192.0.2.1]", "x@localhost",
        " sp@x.io ", "o'neil@x.io", "bo@x.io, cy@x.io", "", "=?utf-8?Q?x?= <q@x.io>",
    ]
)  # fmt: skip
WORDS = st.sampled_from(["", " ", "x", "Hé 😀", "a\tb", "SG.abc.def", "\u2028", None])
FILES = st.fixed_dictionaries(
    {"filename": st.sampled_from(["f", "é.pdf", " "]), "data": st.sampled_from(["eA==", "eA", "=", "eA==\n", "-_-_"])},
    optional={
        "mime_type": st.sampled_from(["a/b", "x", "a/b;c", "/"]),
        "content_id": st.sampled_from(["c", "<c>", ""]),
    },
)
MAILS = st.fixed_dictionaries(
    {"subject": WORDS, "text": WORDS, "html": WORDS},
    optional={
        "cc": st.lists(MAILBOXES, max_size=3),
        "bcc": st.lists(MAILBOXES, max_size=3),
        "reply_to": MAILBOXES,
        "template_id": st.sampled_from(["d-1", "", "x"]),
        "variables": st.sampled_from([{}, {"a": None}]),
        "categories": st.lists(st.sampled_from(["a", "é" * 255, "", "b" * 256]), max_size=11),
        "attachments": st.lists(FILES, max_size=2),
        "headers": st.dictionaries(st.sampled_from(["X-A", "x-a", "Bcc", "References"]), st.sampled_from(["v", "é"])),
        "send_at": st.sampled_from([0, 1, 1 << 31, 1 << 40]),
        "unsubscribe_group": st.sampled_from([0, 1, 1 << 31]),
    },
)


@given(fields=MAILS, to=MAILBOXES)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_passes_at_the_price_sendgrid_takes(fields, to, body) -> None:
    """The simulator's reading of the specification is another than the plugin's."""
    try:
        request = body(Email.model_validate(fields), to=email.parse_address(to).value)
    except (ValidationError, Permanent):
        return
    assert problems_of(request) == []


def test_other_refusals(context, message) -> None:
    content = Email(subject="s", text="x")
    with pytest.raises(InvalidRecipient):
        email.price(
            context(), OutboundMessage(channel="EMAIL", recipient=(Address("e164", "+15551"),), content=content)
        )
    with pytest.raises(InvalidRecipient):
        email.price(context(), message(content, to="nobody"))
    with pytest.raises(Unsupported):
        email.price(context(), message(Location(latitude=1, longitude=2)))
    with pytest.raises(Unsupported):
        email.price(context(), message(Template(template_id="d-1", components=[{"type": "body"}])))


def test_pricing_is_repeatable_and_changes_nothing(context, message) -> None:
    asked = message(Email(subject="s", text="x", headers={"X-A": "1"}, cc=("bo@example.org",)))
    before = repr(asked.content.model_dump())
    assert email.price(context(), asked) == email.price(context(), asked)
    assert repr(asked.content.model_dump()) == before


def test_the_examples_are_valid(context, message) -> None:
    info = email.channel_info()
    assert set(info.examples) == info.content_kinds
    for kind, example in info.examples.items():
        content = info.content_model(kind).model_validate({"kind": kind, **example})
        options = {"subject": "s"} if kind == "text" else {}
        assert email.price(context(), message(content, options=options)).lines


def test_a_draft_shows_no_content(context, message) -> None:
    shown = repr(compose(context(), message(Email(subject="Top secret", text="hush", html="hush"))))
    assert "secret" not in shown
    assert "hush" not in shown
    assert "ada" not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_public_keys": ["not a key"]},
        {"event_public_keys": ["bm90IGEga2V5"]},
        {"event_public_keys": ["-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"]},
        {"from_address": "nobody"},
        {"from_name": "a\u2028b"},
        {"on_behalf_of": "x\x00"},
        {"base_url": "api.sendgrid.com"},
        {"signature_max_age": -1},
        {"unknown": 1},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SendGridAccount.model_validate({"api_key": "SG.x.y", **wrong})


def test_keys_may_come_as_one_text(account) -> None:
    """`--set event_public_keys=KEY`, and every `$env` and `$file`, gives a text."""
    (key,) = account.event_public_keys
    read = SendGridAccount.model_validate
    for text, keys in ((key, (key,)), (f" {key}\n", (key,)), (f"{key}, {key}", (key, key)), ("", ())):
        assert read({"api_key": "SG.x.y", "event_public_keys": text}).event_public_keys == keys
    pem = f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----"
    assert read({"api_key": "SG.x.y", "parse_public_keys": pem}).parse_public_keys == (pem,)
    with pytest.raises(ValueError, match="not an elliptic-curve public key"):
        read({"api_key": "SG.x.y", "event_public_keys": f"{key} nonsense"})


def test_settings_keep_their_secrets(account) -> None:
    settings = SendGridAccount(api_key=SecretStr("SG.very.secret"), inbound_secret=SecretStr("hush"), from_address="")
    assert "very" not in repr(settings)
    assert "hush" not in repr(settings)
    assert settings.from_address is None
    assert settings.headers()["Authorization"] == "Bearer SG.very.secret"


@pytest.mark.parametrize(
    ("content", "options", "subject"),
    [
        (Text(body="Hello"), {}, "From Shop"),
        (Text(body="Hello"), {"subject": "Asked for"}, "Asked for"),
        (Email(text="Hello"), {}, "From Shop"),
        (Email(subject="Its own", text="Hello"), {}, "Its own"),
        (Email(template_id="d-1", variables={"a": "b"}), {}, None),
    ],
)
def test_the_default_subject_is_for_mails_that_name_none(content, options, subject, account, context, message) -> None:
    ctx = context(account=account.model_copy(update={"default_subject": "From Shop"}))
    assert compose(ctx, message(content, options=options)).subject == subject


def test_without_default_subject_a_plain_text_is_refused(context, message) -> None:
    with pytest.raises(ContentRejected, match="needs a subject"):
        compose(context(), message(Text(body="Hello")))


@pytest.mark.parametrize(("hours", "allowed"), [(None, 48), (72, 72), (1, 1), (0, 0)])
def test_a_mail_is_scheduled_no_further_ahead_than_its_receipts_are_waited_for(
    hours, allowed, context, message, account
) -> None:
    if hours is not None:
        account = account.model_copy(update={"schedule_hours": hours})
    ctx = context(account=account)
    latest = int(ctx.now.timestamp()) + allowed * 3600
    assert email.price(ctx, message(Email(subject="s", text="x", send_at=latest))).lines
    with pytest.raises(ContentRejected, match=f"at most {allowed} hours"):
        email.price(ctx, message(Email(subject="s", text="x", send_at=latest + 1)))


def test_a_schedule_beyond_sendgrids_own_limit_cannot_be_set(account) -> None:
    for hours in (-1, 73):
        with pytest.raises(ValidationError):
            SendGridAccount.model_validate({**dict(account), "schedule_hours": hours})
    assert SendGridAccount.model_validate(dict(account)).schedule_hours == 48
