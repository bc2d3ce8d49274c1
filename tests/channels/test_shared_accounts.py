"""Gateways that share an account at their provider: what somebody said belongs to the one that it was said to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from deployment import Deployment, RunDeployment
from sqlalchemy import Connection, select
from waypost.plugin import WebhookRequest
from waypost.store import deliveries, inbound
from waypost.store.gateways import Gateway
from waypost.store.tables import channel_event, conversation, delivery, inbound_message, parked_event

OURS = ("+14155550198", "+14155550199")
PERSON = "+14155550142"
SHARED = "/webhooks/sms_twilio"


async def post(gateway: Deployment, request: WebhookRequest) -> int:
    path = request.url.removeprefix(gateway.url)
    answer = await gateway.call(request.method, path, data=request.body or None, headers=list(request.headers))
    await gateway.node.inbox.drain()
    return answer.status


async def column(gateway: Deployment, wanted: Any) -> list[Any]:
    def read(conn: Connection) -> list[Any]:
        return [row[0] for row in conn.execute(select(wanted).order_by(*wanted.table.primary_key))]

    return await gateway.database.read(read)


def sms(gateway: Deployment, to: str, body: str = "Hello", path: str = SHARED, **more: str) -> WebhookRequest:
    """A person's SMS to one of the account's numbers."""
    simulator: Any = gateway.simulators["sms_twilio"]
    account = simulator.account_settings()["account_sid"]
    form = {"MessageSid": "SM" + "1" * 32, "AccountSid": account, "From": PERSON, "To": to, "Body": body}
    return simulator.webhook(gateway.url + path, form | {"SmsStatus": "received"} | more)


@pytest.fixture
async def gateway(run: RunDeployment) -> Deployment:
    return await run(["sms_twilio"])


async def of_one_account(
    gateway: Deployment, *senders: tuple[str, ...], plugin: str = "sms_twilio", one_app: bool = False
) -> list[Gateway]:
    """Gateways with one account, each with its senders, and under an app of its own unless they are `one_app`'s."""
    settings = gateway.simulators[plugin].account_settings()
    org = await gateway.organization(currency="SGD")
    apps = [await gateway.app(org) for _ in senders]
    return [
        await gateway.configured(plugin, settings, senders=listed, app_id=apps[0 if one_app else place].id)
        for place, listed in enumerate(senders)
    ]


async def told(gateway: Deployment) -> tuple[list[str], set[str]]:
    """Whose the inbound messages are, and for which gateways somebody is known to have written."""
    return await column(gateway, inbound_message.c.gateway_id), set(await column(gateway, conversation.c.gateway_id))


@pytest.mark.postgres
@pytest.mark.parametrize("number", [0, 1])
async def test_an_apps_customer_writes_to_that_app(gateway: Deployment, number: int) -> None:
    rows = await of_one_account(gateway, OURS[:1], OURS[1:])
    assert await post(gateway, sms(gateway, OURS[number], "STOP")) == 200
    assert await told(gateway) == ([rows[number].id], {rows[number].id})
    assert await column(gateway, inbound_message.c.app_id) == [rows[number].app_id]
    consents = [
        await gateway.database.read(lambda conn, row=row: inbound.consent_of(conn, row.id, PERSON)) for row in rows
    ]
    assert consents[number] == {"all": "opted_out"}
    assert consents[1 - number] == {}
    assert await column(gateway, channel_event.c.gateway_id) == [rows[number].id]
    assert await column(gateway, delivery.c.state) == ["applied"]


async def test_however_many_apps_share_an_account_the_last_one_is_told_too(gateway: Deployment) -> None:
    """A delivery that is proved costs no stranger anything: all that it is proof for are found."""
    numbers = [f"+141555501{place}" for place in range(10, 20)]
    rows = await of_one_account(gateway, *((number,) for number in numbers))
    last = max(rows, key=lambda row: row.id)
    await post(gateway, sms(gateway, last.senders[0]))
    assert await told(gateway) == ([last.id], {last.id})


async def test_a_tap_is_the_apps_whose_number_was_answered(gateway: Deployment) -> None:
    _, second = await of_one_account(gateway, OURS[:1], OURS[1:])
    await post(gateway, sms(gateway, OURS[1], "Yes", ButtonPayload="yes"))
    assert set(await column(gateway, channel_event.c.gateway_id)) == {second.id}


@pytest.mark.postgres
async def test_what_nobody_can_place_is_nobodys_until_an_operator_says(gateway: Deployment) -> None:
    rows = await of_one_account(gateway, OURS[:1], ())
    assert await post(gateway, sms(gateway, OURS[1], "STOP")) == 200
    assert await told(gateway) == ([], set())
    assert await column(gateway, channel_event.c.gateway_id) == [""]
    assert await column(gateway, delivery.c.state) == ["failed"]
    (problem,) = await column(gateway, delivery.c.problem)
    assert problem.startswith("it came to an address that is no gateway's sender, or two apps';")

    await gateway.change(rows[1], senders=OURS[1:])
    assert await gateway.database.write(lambda conn: deliveries.queue_again(conn, "sms_twilio")) == 1
    await gateway.node.inbox.tend_once(left_behind=-1)
    assert await told(gateway) == ([rows[1].id], {rows[1].id})
    assert await column(gateway, delivery.c.state) == ["applied"]


async def test_a_number_that_two_apps_list_is_nobodys_but_on_a_gateways_own_url(gateway: Deployment) -> None:
    rows = await of_one_account(gateway, OURS, OURS)
    await post(gateway, sms(gateway, OURS[0]))
    assert await told(gateway) == ([], set())
    await post(gateway, sms(gateway, OURS[0], path=f"{SHARED}/{rows[1].id}", MessageSid="SM" + "2" * 32))
    assert await told(gateway) == ([rows[1].id], {rows[1].id})


async def test_a_gateways_own_url_says_enough_where_nobody_lists_the_number(gateway: Deployment) -> None:
    rows = await of_one_account(gateway, (), ())
    await post(gateway, sms(gateway, OURS[0], path=f"{SHARED}/{rows[1].id}"))
    assert await told(gateway) == ([rows[1].id], {rows[1].id})


async def test_proof_for_one_is_no_proof_for_another_with_another_secret(gateway: Deployment) -> None:
    """The second holds another token: what the first's signs is not the second's, and not the first's either."""
    first, second = await of_one_account(gateway, OURS[:1], OURS[1:])
    sealed = gateway.node.vault.seal(orjson.dumps({"auth_token": "other"}).decode(), f"gateway/{second.id}")
    await gateway.change(second, secrets=sealed)
    await post(gateway, sms(gateway, OURS[1]))
    assert await told(gateway) == ([], set())
    await post(gateway, sms(gateway, OURS[0], MessageSid="SM" + "2" * 32))
    assert await told(gateway) == ([first.id], {first.id})


async def test_of_one_apps_gateways_the_one_with_the_number_is_told(gateway: Deployment) -> None:
    rows = await of_one_account(gateway, OURS[:1], ("+1 415 555 0199",), one_app=True)
    for path in (SHARED, f"{SHARED}/{rows[0].id}"):
        await post(gateway, sms(gateway, OURS[1], path=path))
    assert await told(gateway) == ([rows[1].id], {rows[1].id})


@pytest.mark.parametrize("listed", [OURS, ()], ids=["listed", "not listed"])
async def test_a_disabled_gateway_stands_in_nobodys_way(gateway: Deployment, listed: tuple[str, ...]) -> None:
    """Its number has gone to another app's gateway, whose customers write to it now."""
    rows = await of_one_account(gateway, listed, listed)
    await gateway.change(rows[0], status="disabled")
    await post(gateway, sms(gateway, OURS[1]))
    assert await told(gateway) == ([rows[1].id], {rows[1].id})
    await gateway.change(rows[1], status="disabled")
    await post(gateway, sms(gateway, OURS[1], MessageSid="SM" + "2" * 32))
    assert (await told(gateway))[0] == [rows[1].id]
    assert await column(gateway, delivery.c.state) == ["applied", "failed"]


async def test_a_number_that_has_gone_to_another_app_is_not_the_old_ones_on_its_url_either(gateway: Deployment) -> None:
    """As long as the provider still calls that one: kept, for nobody to read."""
    rows = await of_one_account(gateway, OURS, OURS)
    await gateway.change(rows[0], status="disabled")
    old_url = f"{SHARED}/{rows[0].id}"
    await post(gateway, sms(gateway, OURS[1], path=old_url))
    assert await told(gateway) == ([], set())
    assert await column(gateway, delivery.c.state) == ["failed"]
    await gateway.change(rows[1], status="disabled")
    await post(gateway, sms(gateway, OURS[1], path=old_url, MessageSid="SM" + "2" * 32))
    assert await told(gateway) == ([rows[0].id], {rows[0].id})


async def test_of_one_apps_gateways_the_first_is_told_of_what_none_lists(gateway: Deployment) -> None:
    rows = await of_one_account(gateway, (), (), one_app=True)
    await post(gateway, sms(gateway, OURS[1]))
    assert await told(gateway) == ([rows[0].id], {rows[0].id})


async def test_two_gateways_with_one_number_both_know_that_somebody_wrote(gateway: Deployment) -> None:
    """A person's answer opens the window of the number, whichever gateway the next message takes."""
    rows = await of_one_account(gateway, OURS, OURS, one_app=True)
    await post(gateway, sms(gateway, OURS[1]))
    assert await told(gateway) == ([rows[0].id], {row.id for row in rows})


# ---- one SendGrid account, whose events name no account


@pytest.mark.postgres
async def test_a_second_gateways_mail_is_followed_on_a_url_that_both_share(run: RunDeployment) -> None:
    """Its receipt, early or late, and who unsubscribed by it."""
    gateway = await run(["email_sendgrid"])
    simulator: Any = gateway.simulators["email_sendgrid"]
    simulator.webhook_url = ""
    first, second = await of_one_account(gateway, (), (), plugin="email_sendgrid")
    await gateway.rate(second, 100, currency="SGD", sku="email")
    org = await gateway.organization(currency="SGD", credit_micros=1_000_000)
    app = await gateway.app(org)
    key = await gateway.key(app)
    await gateway.route(app, second)
    simulator.webhook_url = f"{gateway.url}/webhooks/email_sendgrid"
    mail = {"channel": "EMAIL", "to": "ada@example.com", "subject": "Hello", "htmlContent": "Hello"}
    answer = await gateway.send(key, mail)
    await gateway.settle()
    message = await gateway.message(answer.json["data"]["messageId"])
    assert message.status == "DELIVERED"
    assert await column(gateway, parked_event.c.gateway_id) == []

    sent = simulator.journal[-1]
    for event, ours in (("unsubscribe", True), ("spamreport", False)):
        about = {"waypost_ref": sent.correlation, "sg_message_id": sent.provider_id} if ours else {}
        batch = simulator.batch([{"event": event, "sg_event_id": event, "email": "ada@example.com", **about}])
        assert await post(gateway, batch) == 200
    consents = [
        await gateway.database.read(lambda conn, row=row: inbound.consent_of(conn, row.id, "ada@example.com"))
        for row in (first, second)
    ]
    assert consents == [{}, {"all": "opted_out"}]


async def test_a_receipt_that_is_early_waits_for_whichever_gateway_sent_the_mail(run: RunDeployment) -> None:
    gateway = await run(["email_sendgrid"])
    simulator: Any = gateway.simulators["email_sendgrid"]
    first, second = await of_one_account(gateway, (), (), plugin="email_sendgrid")
    simulator.webhook_url = f"{gateway.url}/webhooks/email_sendgrid"
    event = {"event": "delivered", "sg_event_id": "e", "sg_message_id": "early-1.recv", "email": "ada@example.com"}
    assert await post(gateway, simulator.batch([event])) == 200
    (waiting,) = await gateway.database.read(lambda conn: conn.execute(select(parked_event)).all())
    assert {waiting.gateway_id, *waiting.also.split()} == {first.id, second.id}


@pytest.mark.parametrize("listed", ["ada@shop.example.com", "ADA@SHOP.EXAMPLE.COM", '"A, B" <ada@shop.example.com>'])
async def test_mail_is_the_apps_that_lists_its_address_however_that_is_written(run: RunDeployment, listed: str) -> None:
    """People write capitals where there are none, and a sender may have its name before it."""
    gateway = await run(["email_sendgrid"])
    simulator: Any = gateway.simulators["email_sendgrid"]
    _, second = await of_one_account(gateway, ("bob@shop.example.com",), (listed,), plugin="email_sendgrid")
    simulator.inbound_url, simulator.parse_address = f"{gateway.url}/webhooks/email_sendgrid", "Ada@Shop.example.com"
    assert await post(gateway, simulator.inbound("Hello")) == 200
    assert await told(gateway) == ([second.id], {second.id})


# ---- one number at Meta, which is the account itself


async def test_a_number_that_has_gone_to_another_app_is_that_apps(run: RunDeployment) -> None:
    """Two apps' gateways for one number are nobody's but on a gateway's own URL, until one of them is disabled."""
    gateway = await run(["whatsapp"])
    simulator: Any = gateway.simulators["whatsapp"]
    meta = await gateway.provider_app_of("whatsapp", simulator.provider_app_settings())
    org = await gateway.organization(currency="SGD")
    rows = []
    for _ in range(2):
        app = await gateway.app(org)
        settings = simulator.account_settings()
        rows.append(await gateway.configured("whatsapp", settings, provider_app_id=meta.id, app_id=app.id))

    async def arrives(path: str) -> list[str]:
        simulator.inbound_url = gateway.url + path
        assert await post(gateway, simulator.inbound("Hello")) == 200
        return await column(gateway, inbound_message.c.gateway_id)

    assert await arrives("/webhooks/whatsapp") == []
    assert await column(gateway, delivery.c.state) == ["failed"]
    assert await arrives(f"/webhooks/whatsapp/{rows[1].id}") == [rows[1].id]
    await gateway.change(rows[0], status="disabled")
    assert await arrives("/webhooks/whatsapp") == [rows[1].id] * 2
    assert await arrives(f"/webhooks/whatsapp/{rows[0].id}") == [rows[1].id] * 3
    assert set(await column(gateway, conversation.c.gateway_id)) == {rows[1].id}
