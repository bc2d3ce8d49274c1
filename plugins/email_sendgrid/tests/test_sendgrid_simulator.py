"""The plugin against its simulator, over real HTTP; the SDK's own client against it; and what a send costs the loop."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from aiohttp import web
from waypost.plugin import (
    AccountBlocked,
    Attachment,
    ConsentChange,
    ContentRejected,
    DeliveryUpdate,
    Email,
    Engagement,
    InboundMessage,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SecretStr,
    Transient,
    Verified,
)
from waypost.plugin.simulator import ACCEPTING, Outcome
from waypost_email_sendgrid.channel import email
from waypost_email_sendgrid.settings import SendGridAccount
from waypost_email_sendgrid.simulator import MAGIC, SendGridSimulator

CONTENT = Email(subject="Your order", text="On its way", html="<p>On its way</p>")


@pytest.fixture
def played(simulator, context, webhook_context, http, message, receiver):
    """Send to a recipient; and read back all that arrives."""

    class Played:
        account = SendGridAccount.model_validate(simulator.account_settings())

        def ctx(self, **changes):
            return context(**({"account": self.account, "http": http, "now": datetime.now(UTC)} | changes))

        async def send(self, to="ada.okafor@example.com", content=CONTENT, **changes):
            return await email.send(self.ctx(), message(content, to=to, **changes))

        async def read(self, requests=None):
            await simulator.settle()
            assert simulator.errors == []
            ctx = webhook_context(account=self.account, now=datetime.now(UTC))
            events = []
            for request in receiver.requests if requests is None else requests:
                assert email.recognize(request) is not None
                assert isinstance(await email.verify_webhook(ctx, request), Verified)
                events.extend(email.parse_event(request))
            return events

    return Played()


def statuses(events):
    return [event.status for event in events if isinstance(event, DeliveryUpdate)]


async def test_a_mail_is_sent_delivered_and_found_again(played, simulator) -> None:
    result = await played.send(simulator.ordinary_recipient)
    events = await played.read()
    (entry,) = simulator.journal
    assert entry.accepted
    assert entry.recipient == simulator.ordinary_recipient
    assert entry.correlation == "01JC9Q2V8N"
    assert result.provider_ids == (entry.provider_id,)
    assert result.status == "accepted"
    assert statuses(events) == ["sent", "delivered"]
    assert {event.provider_id for event in events} == {entry.provider_id}
    assert {event.correlation for event in events} == {entry.correlation}


async def test_a_mail_of_twenty_megabytes_goes_whole(played, simulator) -> None:
    data = base64.b64encode(b"0123456789abcdef" * 65536 * 15).decode()
    content = CONTENT.model_copy(update={"attachments": (Attachment(filename="f.bin", data=data),)})
    await played.send(content=content)
    (attachment,) = simulator.journal[0].fields["attachments"]
    assert attachment["content"] == data


async def test_batches_look_like_sendgrid_s(played, receiver) -> None:
    await played.send(content=CONTENT.model_copy(update={"cc": ("bo@example.org",)}))
    await played.read()
    request = receiver.requests[0]
    assert request.body.endswith(b"]\r\n")
    assert b",\r\n" in request.body
    assert request.header("user-agent") == "SendGrid Event API"
    assert json.loads(request.body)[0]["sg_message_id"].count(".") == 2


async def test_copies_are_noted_and_only_the_main_recipient_counts(played) -> None:
    content = CONTENT.model_copy(update={"cc": ("bo@example.org",), "bcc": ("cy@example.org",)})
    await played.send("bounce@simulator.example", content)
    events = await played.read()
    assert statuses(events) == ["sent", "undelivered"]
    notes = [event for event in events if isinstance(event, Engagement)]
    assert [event.detail["event"] for event in notes] == ["processed", "processed", "delivered", "delivered"]
    assert len({event.event_id for event in events}) == 6


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("accepted", []),
        ("processed", ["sent"]),
        ("delivered", ["sent", "delivered"]),
        ("open", ["sent", "delivered"]),
        ("deferred", ["sent", "delivered"]),
        ("bounce", ["sent", "undelivered"]),
        ("blocked", ["sent", "undelivered"]),
        ("expired", ["sent", "undelivered"]),
        ("dropped", ["failed"]),
        ("unsubscribed", ["failed"]),
        ("spam-reporter", ["failed"]),
        ("duplicates", ["sent", "sent", "delivered", "delivered"]),
        ("reordered", ["delivered", "sent"]),
        ("early", ["sent", "delivered"]),
    ],
)
async def test_magic_recipients_that_are_accepted(word, expected, played, simulator) -> None:
    result = await played.send(f"{word}@simulator.example")
    events = await played.read()
    assert result.provider_ids == (simulator.journal[0].provider_id,)
    assert statuses(events) == expected
    if word == "duplicates":
        assert len({event.event_id for event in events}) == 2


@pytest.mark.parametrize(
    ("word", "actions"),
    [("open", ["open"]), ("click", ["open", "click"]), ("deferred", ["other"])],
)
async def test_magic_recipients_that_do_something(word, actions, played) -> None:
    await played.send(f"{word}@simulator.example")
    events = await played.read()
    assert [event.action for event in events if isinstance(event, Engagement)] == actions


@pytest.mark.parametrize(
    ("word", "scope"), [("spamreport", "all"), ("unsubscribe", "all"), ("group-unsubscribe", "14")]
)
async def test_magic_recipients_that_leave(word, scope, played) -> None:
    await played.send(f"{word}@simulator.example")
    (change,) = [event for event in await played.read() if isinstance(event, ConsentChange)]
    assert (change.state, change.scope, change.address.value) == ("opted_out", scope, f"{word}@simulator.example")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("invalid", InvalidRecipient),
        ("content", ContentRejected),
        ("unverified-sender", Misconfigured),
        ("no-credits", AccountBlocked),
        ("rate-limited", RateLimited),
        ("unavailable", OutcomeUnknown),
        ("hang", OutcomeUnknown),
        ("garbage", OutcomeUnknown),
    ],
)
async def test_magic_recipients_that_are_refused(word, expected, played, simulator) -> None:
    with pytest.raises(expected) as refused:
        await played.send(f"{word}@simulator.example")
    assert type(refused.value) is expected
    assert "simulator.example" not in refused.value.detail
    (entry,) = simulator.journal
    assert not entry.accepted
    assert await played.read() == []


async def test_a_rate_limit_passes(played, simulator) -> None:
    with pytest.raises(RateLimited) as limited:
        await played.send("rate-limited-once@simulator.example")
    assert limited.value.retry_after is not None
    assert 0 < limited.value.retry_after <= 2
    await played.send("rate-limited-once@simulator.example")
    assert statuses(await played.read()) == ["sent", "delivered"]
    assert [entry.accepted for entry in simulator.journal] == [False, True]


async def test_a_lost_answer_is_found_by_its_correlation(played, simulator) -> None:
    with pytest.raises(OutcomeUnknown):
        await played.send("drop-connection@simulator.example")
    events = await played.read()
    assert statuses(events) == ["sent", "delivered"]
    assert {event.correlation for event in events} == {simulator.journal[0].correlation}


async def test_late_receipts_come_when_released(played, simulator) -> None:
    await played.send("late@simulator.example")
    assert await played.read() == []
    simulator.release_late_receipts()
    assert statuses(await played.read()) == ["sent", "delivered"]


async def test_early_receipts_come_before_the_answer(played, receiver, simulator) -> None:
    sending = asyncio.ensure_future(played.send("early@simulator.example"))
    await receiver.first()
    await sending
    assert len(receiver.requests) == 2


def test_every_outcome_that_makes_sense_has_a_recipient() -> None:
    # SendGrid accepts a mail to somebody who opted out and drops it (FAILED); it has no conversation window.
    assert set(Outcome) - set(MAGIC.values()) == {Outcome.OPTED_OUT, Outcome.OUTSIDE_WINDOW}
    assert set(MAGIC.values()) >= ACCEPTING


async def test_inbound_mail_by_signature_and_by_secret(played, simulator, webhook_context) -> None:
    (signed,) = await played.read([simulator.inbound("Where is it?", "bo@example.org")])
    assert isinstance(signed, InboundMessage)
    assert (signed.content.text, signed.sender[0].value) == ("Where is it?", "bo@example.org")
    assert signed.recipient.value == simulator.parse_address
    unsigned = simulator.unsigned_inbound("Hello")
    by_secret = played.account.model_copy(
        update={"inbound_secret": SecretStr(simulator.inbound_secret), "parse_public_keys": ()}
    )
    ctx = webhook_context(account=by_secret, now=datetime.now(UTC))
    assert isinstance(await email.verify_webhook(ctx, unsigned), Verified)
    without = dataclasses.replace(unsigned, query=())
    assert isinstance(await email.verify_webhook(ctx, without), Rejected)


async def test_two_simulators_share_no_key(webhook_context) -> None:
    one, other = SendGridSimulator(), SendGridSimulator()
    account = SendGridAccount.model_validate(one.account_settings() | {"base_url": "http://127.0.0.1"})
    ctx = webhook_context(account=account, now=datetime.now(UTC))
    assert isinstance(await email.verify_webhook(ctx, one.inbound("x")), Verified)
    assert isinstance(await email.verify_webhook(ctx, other.inbound("x")), Rejected)
    assert one.api_key != other.api_key


async def test_the_account_s_health(played, simulator) -> None:
    async def state(**changes) -> str:
        return (await email.check_account(played.ctx(**changes))).state

    assert await state() == "ok"
    simulator.credits_left = 0
    assert await state() == "blocked"
    simulator.credits_left = 5
    simulator.scopes = ["templates.read"]
    assert await state() == "blocked"
    wrong = played.account.model_copy(update={"api_key": SecretStr("SG.wrong.key")})
    assert await state(account=wrong) == "blocked"
    nowhere = played.account.model_copy(update={"base_url": "http://127.0.0.1:1"})
    assert await state(account=nowhere) == "unknown"


async def test_templates_over_several_pages(played, simulator) -> None:
    simulator.templates = [
        {"id": f"d-{number}", "name": f"T{number}", "versions": [{"active": number % 2}]} for number in range(450)
    ]
    listed = await email.list_templates(played.ctx())
    assert [template.template_id for template in listed] == [f"d-{number}" for number in range(450)]
    assert {template.status for template in listed} == {"active", "draft"}


async def test_a_refused_connection_is_transient(played, message) -> None:
    nowhere = played.account.model_copy(update={"base_url": "http://127.0.0.1:1"})
    with pytest.raises(Transient):
        await email.send(played.ctx(account=nowhere), message(CONTENT))


async def test_sandbox_mode_sends_nothing(played, simulator, message) -> None:
    sandboxed = played.account.model_copy(update={"sandbox": True})
    result = await email.send(played.ctx(account=sandboxed), message(CONTENT))
    assert (result.provider_ids, result.status) == ((), "sent")
    assert simulator.journal == []
    assert await played.read() == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (202, {"X-Message-Id": "abc.def"}, b"", ("abc",)),
        (202, {}, b"", ()),
        (202, {"X-Message-Id": ""}, b"nonsense", ()),
        (200, {}, b"", OutcomeUnknown),
        (201, {}, b"{}", OutcomeUnknown),
        (302, {"Location": "/elsewhere"}, b"", OutcomeUnknown),
        (502, {}, b"<html>", OutcomeUnknown),
    ],
)
async def test_strange_answers(status, headers, body, expected, context, message, http) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, dict(request.headers)))
        return web.Response(status=status, headers=headers, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    account = SendGridAccount(
        api_key=SecretStr("SG.a.b"),
        from_address="shop@example.com",
        on_behalf_of="sub",
        base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/",
    )
    try:
        if isinstance(expected, tuple):
            result = await email.send(context(http=http, account=account), message(CONTENT))
            assert (result.provider_ids, result.status) == (expected, "accepted")
        else:
            with pytest.raises(expected):
                await email.send(context(http=http, account=account), message(CONTENT))
    finally:
        await runner.cleanup()
    ((path, sent),) = asked
    assert path == "/v3/mail/send"
    assert sent["Authorization"] == "Bearer SG.a.b"
    assert sent["on-behalf-of"] == "sub"


# ---- the simulator as a SendGrid


async def test_the_sdk_s_own_client_works_against_it(simulator, receiver) -> None:
    sendgrid = pytest.importorskip("sendgrid")
    client = sendgrid.SendGridAPIClient(simulator.api_key, host=simulator.base_url)
    mail = sendgrid.Mail(simulator.sender, "ada.okafor@example.com", "Hello", "plain", "<p>html</p>")
    answer = await asyncio.to_thread(client.send, mail)
    await simulator.settle()
    assert answer.status_code == 202
    assert answer.headers["X-Message-Id"] == simulator.journal[0].provider_id
    assert len(receiver.requests) == 2
    listed = await asyncio.to_thread(client.client.scopes.get)
    assert "mail.send" in json.loads(listed.body)["scopes"]


async def test_the_sdk_s_verifier_accepts_its_signatures(simulator) -> None:
    from sendgrid.helpers.eventwebhook import EventWebhook

    request = simulator.batch([{"event": "open", "sg_event_id": "1"}])
    key = simulator.account_settings()["event_public_keys"][0]
    signature = request.header("x-twilio-email-event-webhook-signature")
    timestamp = request.header("x-twilio-email-event-webhook-timestamp")
    assert EventWebhook(key).verify_signature(request.body.decode(), signature, timestamp)


VALID = {
    "personalizations": [{"to": [{"email": "a@example.com"}]}],
    "from": {"email": "orders@shop.simulator.example"},
    "subject": "s",
    "content": [{"type": "text/plain", "value": "x"}],
}
WRONG = {
    "not an object": ([], None),
    "no envelope": (VALID | {"personalizations": []}, "personalizations"),
    "nobody": (VALID | {"personalizations": [{"to": []}]}, "personalizations.0.to"),
    "bad to": (VALID | {"personalizations": [{"to": [{"email": "a"}]}]}, "personalizations.0.to.0.email"),
    "twice": (
        VALID | {"personalizations": [{"to": [{"email": "a@example.com"}], "cc": [{"email": "A@example.com"}]}]},
        "personalizations.0",
    ),
    "a crowd": (
        VALID
        | {
            "personalizations": [
                {"to": [{"email": f"a{number}.{part}@example.com"} for number in range(167)]} for part in range(6)
            ]
        },
        "personalizations",
    ),
    "two ways to answer": (
        VALID | {"reply_to": {"email": "a@example.com"}, "reply_to_list": [{"email": "b@example.com"}]},
        "reply_to",
    ),
    "no sender": ({name: value for name, value in VALID.items() if name != "from"}, "from.email"),
    "bad sender": (VALID | {"from": {"email": "x"}}, "from.email"),
    "no subject": (VALID | {"subject": ""}, "subject"),
    "no content": (VALID | {"content": []}, "content"),
    "html first": (
        VALID | {"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]},
        "content",
    ),
    "empty content": (VALID | {"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
    "legacy template": (VALID | {"template_id": "5997"}, "template_id"),
    "attachment": (VALID | {"attachments": [{"content": "%", "filename": "f"}]}, "attachments.0.content"),
    "attachment type": (
        VALID | {"attachments": [{"content": "eA==", "filename": "f", "type": "a/b;c"}]},
        "attachments.0.type",
    ),
    "header": (VALID | {"headers": {"Subject": "x"}}, "headers.Subject"),
    "argument": (
        VALID | {"personalizations": [{"to": [{"email": "a@example.com"}], "custom_args": {"n": 1}}]},
        "personalizations.0.custom_args",
    ),
    "categories": (VALID | {"categories": ["c"] * 11}, "categories"),
    "far future": (VALID | {"send_at": 4_000_000_000}, "send_at"),
    "group": (VALID | {"asm": {"group_id": "x"}}, "asm.group_id"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_it_refuses_what_sendgrid_refuses(name, simulator, http) -> None:
    mail, field = WRONG[name]
    headers = {"Authorization": f"Bearer {simulator.api_key}"}
    async with http.post(f"{simulator.base_url}/v3/mail/send", json=mail, headers=headers) as answer:
        assert answer.status == 400
        assert field in [error["field"] for error in (await answer.json())["errors"]]
    assert simulator.journal == []


async def test_it_refuses_strangers_and_strange_bodies(simulator, http) -> None:
    url, good = f"{simulator.base_url}/v3/mail/send", {"Authorization": f"Bearer {simulator.api_key}"}

    async def post(**request) -> int:
        async with http.post(url, **request) as answer:
            assert "errors" in await answer.json()
            return answer.status

    assert await post(json=VALID) == 401
    assert await post(json=VALID, headers={"Authorization": "Bearer SG.other.key"}) == 401
    assert await post(data=b"{", headers=good | {"Content-Type": "application/json"}) == 400
    assert await post(data={"a": "b"}, headers=good) == 415
    huge = io.BytesIO(b'"' + b"x" * (31 * 1024 * 1024) + b'"')
    assert await post(data=huge, headers=good | {"Content-Type": "application/json"}) == 413
    simulator.scopes = []
    assert await post(json=VALID, headers=good) == 403


# ---- what it costs


def test_the_plugin_imports_fast_and_without_the_sdk() -> None:
    code = (
        "import sys, time, waypost.plugin, waypost.plugin.simulator\n"
        "started = time.process_time()\n"
        "import waypost_email_sendgrid.channel\n"
        "print(time.process_time() - started)\n"
        "print([name for name in ('sendgrid', 'werkzeug', 'dns') if name in sys.modules])\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(3)
    ]
    assert {loaded for _, loaded in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) < 0.3


async def test_the_first_send_does_not_hold_the_loop(simulator, receiver) -> None:
    code = f"""
import asyncio, sys, time
from datetime import UTC, datetime
import aiohttp
from waypost.plugin import Address, Context, Email, NoSettings, OutboundMessage
from waypost_email_sendgrid.channel import email

async def main():
    account = email.channel_info().account_settings.model_validate({simulator.account_settings()!r})
    gaps = [0.0]
    async def beat():
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
    heart = asyncio.ensure_future(beat())
    async with aiohttp.ClientSession() as session:
        ctx = Context(gateway_id="g", account=account, provider_app=NoSettings(), http=session, log=None,
                      now=datetime.now(UTC), correlation="r")
        message = OutboundMessage(channel="EMAIL", recipient=(Address("email", "ada@example.com"),),
                                  content=Email(subject="s", text="x"))
        assert "sendgrid" not in sys.modules
        await email.send(ctx, message)
        assert "sendgrid" in sys.modules
    heart.cancel()
    print(max(gaps))

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    # The promise is 150 ms; a shared machine may itself be away for a moment.
    assert float(out) < 0.5


def test_the_first_mail_is_parsed_by_what_was_imported_in_a_thread(simulator) -> None:
    """Importing Werkzeug takes a third of a second; only a mail that was believed is worth it."""
    forged, believed = simulator.inbound("Hello"), simulator.inbound("Hello")
    forged = dataclasses.replace(forged, body=forged.body + b" ")
    code = f"""
import asyncio, sys
from datetime import UTC, datetime
from waypost.plugin import NoSettings, WebhookContext, WebhookRequest
from waypost_email_sendgrid.channel import email

account = email.channel_info().account_settings.model_validate({simulator.account_settings()!r})
ctx = WebhookContext(provider_app=NoSettings(), account=account, log=None, now=datetime.now(UTC))
for fields in ({dataclasses.asdict(forged)!r}, {dataclasses.asdict(believed)!r}):
    verdict = asyncio.run(email.verify_webhook(ctx, WebhookRequest(**fields)))
    print(type(verdict).__name__, "werkzeug" in sys.modules, "waypost_email_sendgrid.inbound" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["Rejected False False", "Verified True True"]


async def test_a_thousand_events_are_read_in_a_moment(simulator) -> None:
    events = [
        {"event": "delivered", "email": f"u{number}@example.com", "sg_message_id": "abc.def", "timestamp": 1794302103,
         "sg_event_id": f"id{number}", "waypost_ref": "r", "waypost_to": "0" * 20}
        for number in range(1000)
    ]  # fmt: skip
    request = simulator.batch(events)
    started = time.perf_counter()
    assert len(email.parse_event(request)) == 1000
    assert time.perf_counter() - started < 2


async def test_a_big_mail_is_read_in_a_moment(simulator, played) -> None:
    request = simulator.inbound("x" * (5 * 1024 * 1024) + "\r\n--xYz\r\n" * 1000)
    started = time.perf_counter()
    (event,) = await played.read([request])
    assert isinstance(event, InboundMessage)
    assert time.perf_counter() - started < 5
