"""The whole road of every channel through both REST APIs: accepted, sent, delivered, settled, paid; and back again."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deployment import PRICE, Answer, Deployment, RunDeployment
from documented import PLUGINS
from sqlalchemy import Connection, select, text
from waypost.clock import HOUR
from waypost.ids import new_id
from waypost.plugin import WebhookRequest
from waypost.store import inbound, rates
from waypost.store.gateways import Gateway
from waypost.store.messages import Message
from waypost.store.tables import channel_event, inbound_message
from world import Partner

APIS = ("partner", "token")
SGD = 1_000_000


class Road:
    """A deployment of one plugin, and a partner whose gateway belongs to their app."""

    def __init__(self, gateway: Deployment, partner: Partner, plugin: str) -> None:
        self.gateway, self.partner, self.plugin = gateway, partner, plugin
        self.row: Gateway = partner.gateway
        self.simulator: Any = gateway.simulators[plugin]

    async def send(self, api: str, to: str | None = None, **fields: Any) -> Answer:
        """Send by one of the APIs; without fields, an ordinary message of the channel."""
        channel, to = self.row.channel, to or self.simulator.ordinary_recipient
        if api == "partner":
            mail = {"subject": "Hello", "htmlContent": "<p>Hello</p>"}
            body = fields or (mail if channel == "EMAIL" else {"content": "Hello"})
            request = {"channel": channel, "to": to, **body}
            return await self.gateway.send(self.partner.secret, body={"request": request})
        body = fields or ({"subject": "Hello", "html": "<p>Hello</p>"} if channel == "EMAIL" else {"text": "Hello"})
        return await self.gateway.token(self.partner.secret, channel.lower(), {"to": to, **body})

    async def arrived(self, answer: Answer) -> Message:
        """The message, once everything that the simulator has to say of it is applied."""
        assert answer.status == 200, answer.text
        body = answer.json
        await self.gateway.settle()
        return await self.gateway.message(body["data"]["messageId"] if "data" in body else body["id"])

    async def receive(self, request: WebhookRequest) -> None:
        await self.simulator.deliver_now(request)
        assert self.simulator.errors == []
        await self.gateway.node.inbox.drain()

    async def column(self, wanted: Any) -> list[Any]:
        def read(conn: Connection) -> list[Any]:
            return [row[0] for row in conn.execute(select(wanted).order_by(*wanted.table.primary_key))]

        return await self.gateway.database.read(read)

    async def wrote(self, ago: int, *, gateway_since: int = 30 * 24 * HOUR) -> None:
        """The ordinary recipient wrote so long ago, at a gateway that has received for a month."""
        now = self.gateway.clock.now()

        def note(conn: Connection) -> None:
            inbound.note_inbound(conn, self.row.id, [], now - gateway_since)
            inbound.note_inbound(conn, self.row.id, [self.simulator.ordinary_recipient], now - ago)

        await self.gateway.database.write(note)


async def road(run: RunDeployment, plugin: str) -> Road:
    gateway = await run([plugin])
    partner = await gateway.newcomer()
    await gateway.change(partner.gateway, app_id=partner.app.id)
    return Road(gateway, partner, plugin)


FINAL = {"instagram": "READ"}
#: What the simulated provider tells of an ordinary message, in its order. Instagram's echo is nobody's receipt.
RECEIPTS = {"instagram": ["read"]}


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_there_and_paid(run: RunDeployment, plugin: str) -> None:
    await there_and_paid(await road(run, plugin))


@pytest.mark.postgres
@pytest.mark.parametrize("plugin", ["whatsapp", "email_sendgrid"])
async def test_there_and_paid_on_both_databases(run: RunDeployment, plugin: str) -> None:
    way = await road(run, plugin)
    await there_and_paid(way)
    await back(way)


async def there_and_paid(way: Road) -> None:
    """Each API's answer, then the message as it ends, its events, and the money."""
    for number, api in enumerate(APIS, 1):
        answer = await way.send(api)
        assert answer.status == 200, answer.text
        if api == "partner":
            told = answer.json["data"]
            assert (told["channel"], told["cost"], told["currency"]) == (way.row.channel, 0.12, "SGD")
            assert told["status"] in ("SENT", "DELIVERED", "READ")
        else:
            assert answer.json["status"] in ("queued", "sent")
        message = await way.arrived(answer)
        assert message.status == FINAL.get(way.plugin, "DELIVERED"), api
        assert message.settled_at is not None
        assert (message.held, message.captured) == (PRICE, PRICE)
        await exactly_one_try(way, message)
        balance = await way.gateway.balance(way.partner.org)
        assert (balance.held, balance.captured) == (0, PRICE * number)
        assert len(way.simulator.journal) == number
    assert await way.gateway.books_balance()
    assert way.simulator.errors == []


async def exactly_one_try(way: Road, message: Message) -> None:
    """The timeline: queued, begun and accepted once each, in this order, and every receipt once in the provider's."""
    answer = await way.gateway.get(f"/partner/message/{message.id}", way.partner.secret)
    timeline = [(item["event"], item["by"]) for item in answer.json["data"]["timeline"]]
    assert [event for event, by in timeline if by == "core"] == ["queued", "sending", "sent"]
    receipts = RECEIPTS.get(way.plugin, ["sent", "delivered"])
    assert [event for event, by in timeline if by == "provider"] == receipts
    assert timeline[:2] == [("queued", "core"), ("sending", "core")]
    assert len(timeline) == 3 + len(receipts)


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_and_back(run: RunDeployment, plugin: str) -> None:
    await back(await road(run, plugin))


async def back(way: Road) -> None:
    """A person's message is stored once, for the app that the receiving gateway belongs to."""
    request = way.simulator.inbound("Where is my order? Größe ✓")
    for _ in range(2):
        await way.receive(request)
    assert await way.column(inbound_message.c.app_id) == [way.partner.app.id]
    (content,) = await way.column(inbound_message.c.content)
    assert "Größe ✓" in content
    rows = await way.gateway.database.read(lambda conn: inbound.page(conn, way.partner.app.id, "", 10))
    assert [(row.gateway_id, row.channel) for row in rows] == [(way.row.id, way.row.channel)]
    other = await way.gateway.app(way.partner.org)
    assert await way.gateway.database.read(lambda conn: inbound.page(conn, other.id, "", 10)) == []


# ---- opt-outs


async def consent(way: Road, address: str) -> dict[str, str]:
    return await way.gateway.database.read(lambda conn: inbound.consent_of(conn, way.row.id, address))


async def test_stop_by_sms_is_recorded_and_start_takes_it_back(run: RunDeployment) -> None:
    way = await road(run, "sms_twilio")
    from urllib.parse import parse_qsl

    for word, state in (("STOP", "opted_out"), ("START", "opted_in")):
        plain = way.simulator.inbound(word, sender="+6591234567")
        form = dict(parse_qsl(plain.body.decode())) | {"OptOutType": word}
        await way.receive(way.simulator.webhook(plain.url, form))
        assert set((await consent(way, "+6591234567")).values()) == {state}


async def test_unsubscribing_from_mail_is_recorded(run: RunDeployment) -> None:
    way = await road(run, "email_sendgrid")
    for address in ("unsubscribe@simulator.example", "spamreport@simulator.example"):
        await way.arrived(await way.send("partner", address))
    opened = way.simulator.batch(
        [
            {"event": "unsubscribe", "email": "ada@example.com", "timestamp": int(time.time()), "sg_event_id": "u-1"},
            {"event": "spamreport", "email": "bob@example.com", "timestamp": int(time.time()), "sg_event_id": "s-1"},
        ]
    )
    await way.receive(opened)
    for address in ("ada@example.com", "bob@example.com"):
        assert set((await consent(way, address)).values()) == {"opted_out"}, address


async def test_stopping_marketing_on_whatsapp_is_recorded(run: RunDeployment) -> None:
    way = await road(run, "whatsapp")
    for word, state in (("stop", "opted_out"), ("resume", "opted_in")):
        preference = {
            "wa_id": "15550100000", "category": "marketing_messages", "value": word, "detail": "User requested",
            "timestamp": int(time.time()),
        }  # fmt: skip
        value = {"contacts": [{"profile": {"name": "Ada"}, "wa_id": "15550100000"}], "user_preferences": [preference]}
        await way.receive(way.simulator.change("user_preferences", value))
        assert set((await consent(way, "+15550100000")).values()) == {state}


# ---- the service window


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("plugin", ["whatsapp", "messenger", "instagram", "whatsapp_twilio"])
async def test_outside_a_window_known_to_be_closed_nothing_is_held_or_sent(
    run: RunDeployment, plugin: str, api: str
) -> None:
    way = await road(run, plugin)
    await way.wrote(25 * HOUR)
    before = await way.gateway.rows()
    answer = await way.send(api)
    assert answer.status == 400, answer.text
    assert answer.told[1].upper() == "VALIDATION_ERROR"
    assert "OUTSIDE_WINDOW" in answer.text
    assert way.simulator.journal == []
    balance = await way.gateway.balance(way.partner.org)
    assert (balance.held, balance.captured) == (0, 0)
    after = await way.gateway.rows()
    assert {name for name in after if after[name] != before[name]} <= {"audit"}
    # The person writes: now it may be sent.
    await way.receive(way.simulator.inbound("Hello?"))
    assert (await way.arrived(await way.send(api))).status == FINAL.get(plugin, "DELIVERED")


@pytest.mark.parametrize("plugin", ["whatsapp", "messenger", "instagram", "whatsapp_twilio"])
async def test_within_the_window_and_where_it_is_not_known_it_is_sent(run: RunDeployment, plugin: str) -> None:
    way = await road(run, plugin)
    assert (await way.arrived(await way.send("partner"))).status == FINAL.get(plugin, "DELIVERED")
    await way.wrote(23 * HOUR)
    assert (await way.arrived(await way.send("partner"))).status == FINAL.get(plugin, "DELIVERED")


async def test_a_gateway_that_has_received_for_an_hour_knows_nothing_of_the_day_before(run: RunDeployment) -> None:
    way = await road(run, "whatsapp")
    now = way.gateway.clock.now()
    await way.gateway.database.write(lambda conn: inbound.note_inbound(conn, way.row.id, ["+15550109999"], now - HOUR))
    assert (await way.arrived(await way.send("partner"))).status == "DELIVERED"


@pytest.mark.parametrize("plugin", ["whatsapp", "whatsapp_twilio"])
async def test_a_person_on_record_under_the_other_form_of_their_number_is_answered(
    run: RunDeployment, plugin: str
) -> None:
    way = await road(run, plugin)
    now = way.gateway.clock.now()
    await way.gateway.database.write(lambda conn: inbound.note_inbound(conn, way.row.id, [], now - 720 * HOUR))
    await way.receive(way.simulator.inbound("oi", "+551187654321"))
    assert (await way.arrived(await way.send("partner", "+5511987654321"))).status == "DELIVERED"


@pytest.mark.postgres
@pytest.mark.parametrize("plugin", ["whatsapp", "whatsapp_twilio"])
async def test_who_wrote_without_their_number_may_be_any_number(run: RunDeployment, plugin: str) -> None:
    """Known by a user id alone: for a day nobody can say of any number that it has not written."""
    way = await road(run, plugin)
    await way.wrote(25 * HOUR)
    assert "OUTSIDE_WINDOW" in (await way.send("partner")).text
    if plugin == "whatsapp":
        hidden = way.simulator.inbound("Hello?", "SG.13491208655302741918")
    else:
        form = {"MessageSid": "SM" + "1" * 32, "AccountSid": way.simulator.account_sid, "SmsStatus": "received"}
        form |= {"From": "whatsapp:SG.13491208655302741918", "To": "whatsapp:+14155550199", "Body": "Hello?"}
        hidden = way.simulator.webhook(way.simulator.inbound_url, form)
    await way.receive(hidden)
    assert (await way.arrived(await way.send("partner"))).status == "DELIVERED"
    # A day later nothing has come that might have been theirs.
    long_ago = (way.gateway.clock.now() - 25 * HOUR, way.row.id, inbound.HIDDEN)
    change = text("UPDATE conversation SET last_inbound_at = :at WHERE gateway_id = :gateway AND address = :address")
    named = dict(zip(("at", "gateway", "address"), long_ago, strict=True))
    assert (await way.gateway.database.write(lambda conn: conn.execute(change, named).rowcount)) == 1
    assert "OUTSIDE_WINDOW" in (await way.send("partner")).text


async def test_a_template_goes_outside_the_window(run: RunDeployment) -> None:
    way = await road(run, "whatsapp")
    await way.wrote(25 * HOUR)
    answer = await way.send("partner", templateId="order_shipped", templateVariables={"1": "Ada"})
    message = await way.arrived(answer)
    assert message.status == "DELIVERED"


async def test_whatsapp_itself_says_that_the_window_is_closed(run: RunDeployment) -> None:
    """Where we did not know, the provider's refusal ends the message and gives the credit back."""
    way = await road(run, "whatsapp")
    message = await way.arrived(await way.send("partner", "+15550100013"))
    assert (message.status, message.error_code, message.captured) == ("FAILED", "OUTSIDE_WINDOW", 0)
    assert (await way.gateway.balance(way.partner.org)).held == 0


# ---- prices


async def test_whatsapp_costs_what_the_category_costs(run: RunDeployment) -> None:
    gateway = await run(["whatsapp"])
    org = await gateway.organization(currency="SGD", credit_micros=100 * SGD)
    app = await gateway.app(org)
    row = await gateway.simulated("whatsapp", app_id=app.id)
    partner = Partner(org, app, await gateway.key(app), (row,))
    await gateway.route(app, row)
    prices = {"marketing": 90_000, "utility": 30_000, "authentication": 25_000, "service": 1_000}
    for sku, price in prices.items():
        await gateway.rate(row, price, currency="SGD", sku=sku)
    way = Road(gateway, partner, "whatsapp")
    spent = 0
    for category in ("marketing", "utility", "authentication"):
        content = {"kind": "template", "template_id": "any_template", "category": category}
        message = await way.arrived(await way.send("partner", content=content))
        assert (message.status, message.held, message.captured) == ("DELIVERED", prices[category], prices[category])
        spent += prices[category]
    message = await way.arrived(await way.send("partner"))
    assert message.captured == prices["service"]
    assert (await gateway.balance(org)).captured == spent + prices["service"]
    # Inside the window, once the card says what a utility template costs there: nothing.
    await gateway.rate(row, 0, currency="SGD", sku="utility_in_window")
    await way.receive(way.simulator.inbound("Hello"))
    content = {"kind": "template", "template_id": "any_template", "category": "utility"}
    message = await way.arrived(await way.send("partner", content=content))
    assert (message.status, message.held, message.captured) == ("DELIVERED", 0, 0)
    assert await gateway.books_balance()


async def test_a_window_that_is_open_stays_so_when_somebody_else_writes(run: RunDeployment) -> None:
    """Also somebody of whom nobody knows the number: that this person wrote is known all the same."""
    way = await road(run, "whatsapp")
    await way.gateway.rate(way.row, 0, currency="SGD", sku="utility_in_window")
    await way.wrote(HOUR)
    await way.receive(way.simulator.inbound("Hello?", "SG.13491208655302741918"))
    content = {"kind": "template", "template_id": "any_template", "category": "utility"}
    message = await way.arrived(await way.send("partner", content=content))
    assert (message.status, message.held) == ("DELIVERED", 0)


async def test_who_is_known_by_a_user_id_alone_has_the_prices_of_their_country(run: RunDeployment) -> None:
    way = await road(run, "whatsapp")
    await way.gateway.rate(way.row, 0, currency="SGD", sku="utility_in_window", prefix="65")
    content = {"kind": "template", "template_id": "any_template", "category": "utility"}
    for user_id, is_free in (("SG.13491208655302741918", True), ("DE.13491208655302741918", False)):
        await way.receive(way.simulator.inbound("Hello?", user_id))
        message = await way.arrived(await way.send("partner", user_id, content=content))
        assert (message.held == 0) is is_free


async def test_the_operators_word_on_a_templates_category_outranks_the_partners(run: RunDeployment) -> None:
    gateway = await run(["whatsapp"])
    partner = await gateway.newcomer()
    row = partner.gateway
    settings = json.loads(row.settings) | {"template_categories": {"sale": "marketing"}}
    await gateway.change(row, settings=json.dumps(settings))
    await gateway.rate(row, 990_000, currency="SGD", sku="marketing", valid_from=1)
    content = {"kind": "template", "template_id": "sale", "category": "utility"}
    message = await Road(gateway, partner, "whatsapp").arrived(
        await gateway.send(
            partner.secret, {"channel": "WHATSAPP", "to": "+15550100000", "content": content},
        )
    )  # fmt: skip
    assert message.captured == 990_000


async def test_a_code_goes_into_its_button_where_the_operator_says_that_the_template_carries_one(
    run: RunDeployment,
) -> None:
    way = await road(run, "whatsapp")
    settings = json.loads(way.row.settings) | {"template_categories": {"otp_code": "authentication"}}
    await way.gateway.change(way.row, settings=json.dumps(settings))
    await way.gateway.rate(way.row, 25_000, currency="SGD", sku="authentication", valid_from=1)
    answer = await way.send("partner", templateId="otp_code", templateVariables={"1": "481920"})
    assert (await way.arrived(answer)).status == "DELIVERED"
    components = way.simulator.journal[0].fields["template"]["components"]
    assert [component["parameters"][0]["text"] for component in components] == ["481920", "481920"]


# ---- email


async def test_a_mail_with_copies_is_billed_for_each_recipient(run: RunDeployment) -> None:
    way = await road(run, "email_sendgrid")
    content = {
        "kind": "email", "subject": "Invoice", "text": "Attached.", "html": "<p>Attached.</p>",
        "cc": ["carol@example.com"], "bcc": ["dave@example.com", "erin@example.com"],
        "reply_to": "support@shop.example.com", "headers": {"X-Order": "A-1"}, "categories": ["invoice"],
        "attachments": [{"filename": "a.txt", "data": "aGVsbG8="}],
    }  # fmt: skip
    message = await way.arrived(await way.send("partner", content=content))
    assert (message.status, message.captured) == ("DELIVERED", 4 * PRICE)
    (entry,) = way.simulator.journal
    (envelope,) = entry.fields["personalizations"]
    assert [item["email"] for item in envelope["to"]] == [way.simulator.ordinary_recipient]
    assert [item["email"] for item in envelope["cc"]] == ["carol@example.com"]
    assert [item["email"] for item in envelope["bcc"]] == ["dave@example.com", "erin@example.com"]
    assert entry.fields["reply_to"]["email"] == "support@shop.example.com"
    assert entry.fields["headers"] == {"X-Order": "A-1"}
    assert entry.fields["categories"] == ["invoice"]
    assert entry.fields["attachments"][0]["filename"] == "a.txt"


async def test_a_copy_that_bounces_does_not_fail_the_message(run: RunDeployment) -> None:
    way = await road(run, "email_sendgrid")
    content = {"kind": "email", "subject": "Hi", "text": "Hi", "cc": ["carol@example.com"]}
    message = await way.arrived(await way.send("partner", content=content))
    provider_id = way.simulator.journal[0].provider_id
    bounce = {
        "event": "bounce", "email": "carol@example.com", "timestamp": int(time.time()), "sg_event_id": "b-1",
        "sg_message_id": f"{provider_id}.recvd-1", "waypost_ref": way.simulator.journal[0].correlation,
        "waypost_to": way.simulator.ordinary_recipient, "type": "bounce", "reason": "550 5.1.1",
    }  # fmt: skip
    await way.receive(way.simulator.batch([bounce]))
    assert (await way.gateway.message(message.id)).status == "DELIVERED"


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "Hello\r\nBcc: victim@example.com"},
        {"subject": "Hello", "headers": {"X-A": "1\r\nBcc: victim@example.com"}},
        {"subject": "Hello", "headers": {"X-A\r\nBcc": "1"}},
        {"subject": "Hello", "cc": ["a@example.com\r\nBcc: victim@example.com"]},
        {"subject": "Hello", "reply_to": "a@example.com\nX: 1"},
        {"subject": "Hello", "from_name": "Shop\nBcc: victim@example.com"},
    ],
)
async def test_an_injected_header_is_refused_before_anything_is_held(
    run: RunDeployment, fields: dict[str, Any]
) -> None:
    way = await road(run, "email_sendgrid")
    answer = await way.send("partner", content={"kind": "email", "text": "Hi", **fields})
    assert answer.status == 400
    assert way.simulator.journal == []
    assert (await way.gateway.rows())["message"] == 0


DOCUMENT = (Path(__file__).parents[1] / "acceptance" / "documents" / "partner-api.txt").read_text(encoding="utf-8")


@pytest.mark.postgres
async def test_the_partner_documents_email_example_to_the_letter(run: RunDeployment) -> None:
    """The body that its Node.js example posts."""
    way = await road(run, "email_sendgrid")
    code = DOCUMENT.split("Node.js Example\n", 1)[1].split("Support\n", 1)[0]
    assert "{ request: { channel: 'EMAIL', to, subject, htmlContent } }" in code
    called = re.search(r"sendEmail\('([^']+)', '([^']+)', '([^']+)'\)", code)
    assert called
    request = {"channel": "EMAIL", "to": called[1], "subject": called[2], "htmlContent": called[3]}
    answer = await way.gateway.send(way.partner.secret, body={"request": request})
    data = answer.json["data"]
    assert answer.json == {
        "success": True,
        "message": "Message sent successfully.",
        "data": {
            "messageId": data["messageId"], "recipient": request["to"], "channel": "EMAIL", "status": "SENT",
            "cost": 0.12, "currency": "SGD",
        },
    }  # fmt: skip
    mail = way.simulator.journal[0].fields
    assert mail["subject"] == request["subject"]
    assert {"type": "text/html", "value": request["htmlContent"]} in mail["content"]
    assert (await way.arrived(answer)).status == "DELIVERED"


async def test_every_event_that_the_token_document_names(run: RunDeployment) -> None:
    """delivered, open, click, bounce, deferred, dropped: each ends the message as it should, or is kept beside it."""
    way = await road(run, "email_sendgrid")
    for word, status, kept in (
        ("delivered", "DELIVERED", ()),
        ("open", "DELIVERED", ("open",)),  # by a person or by a machine: not a proof of reading
        ("click", "DELIVERED", ("open", "click")),
        ("bounce", "UNDELIVERED", ()),
        ("deferred", "DELIVERED", ("deferred",)),
        ("dropped", "FAILED", ()),
    ):
        message = await way.arrived(await way.send("token", f"{word}@simulator.example"))
        assert message.status == status, word
        told = "".join(await way.column(channel_event.c.data))
        assert all(name in told for name in kept), (word, told)
    assert await way.gateway.books_balance()


async def test_rates_and_routes_go_by_the_domain(run: RunDeployment) -> None:
    way = await road(run, "email_sendgrid")

    def dearer(conn: Connection) -> None:
        for rate in rates.all_rates(conn):
            if rate.gateway_id == way.row.id:
                rates.add_rate(conn, replace(rate, id=new_id("rate"), prefix="example.com", price=500_000))

    await way.gateway.decide(dearer)
    prices = {}
    for to in ("zoe@Example.com", "example.com@other.example"):
        prices[to] = (await way.arrived(await way.send("partner", to))).held
    assert prices == {"zoe@Example.com": 500_000, "example.com@other.example": PRICE}


# ---- watermarks


@pytest.mark.postgres
async def test_messengers_reading_may_overtake_the_answer(run: RunDeployment) -> None:
    """The simulated provider tells of the reading at once; whichever is stored first, it is not lost."""
    way = await road(run, "messenger")
    answers = await asyncio.gather(*(way.send("token", "7000000000000004") for _ in range(20)))

    async def all_read() -> bool:
        return {(await way.gateway.message(answer.json["id"])).status for answer in answers} == {"READ"}

    await way.gateway.until(all_read, "READ")
    assert await way.gateway.books_balance()


async def test_messengers_watermark_settles_all_earlier_messages(run: RunDeployment) -> None:
    way = await road(run, "messenger")
    silent = "7000000000000002"  # sent, and nothing more

    async def past(millisecond: int) -> bool:
        return bool(way.simulator.milliseconds() > millisecond)

    earlier = [await way.arrived(await way.send("partner", silent)) for _ in range(3)]
    other = await way.arrived(await way.send("partner", "7000000000000001"))
    assert {message.status for message in earlier} == {"SENT"}
    mark = way.simulator.milliseconds()
    await way.gateway.until(lambda: past(mark + 100), "a moment that no clock takes for the other")
    later = await way.arrived(await way.send("partner", silent))
    event = way.simulator.from_person(silent, delivery={"watermark": mark})
    await way.receive(way.simulator.signed(way.simulator.envelope(event)))
    assert {(await way.gateway.message(message.id)).status for message in earlier} == {"DELIVERED"}
    assert (await way.gateway.message(later.id)).status == "SENT"
    assert (await way.gateway.message(other.id)).status == "SENT"
    read = way.simulator.from_person(silent, read={"watermark": way.simulator.milliseconds() + 1})
    await way.receive(way.simulator.signed(way.simulator.envelope(read)))
    assert {(await way.gateway.message(message.id)).status for message in (*earlier, later)} == {"READ"}
    assert (await way.gateway.message(other.id)).status == "SENT"
    assert None not in [(await way.gateway.message(message.id)).settled_at for message in (*earlier, later)]
    assert await way.gateway.books_balance()
