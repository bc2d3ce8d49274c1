"""The URLs that providers call: the document's two, a plugin's, a gateway's; whose secret speaks for whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from deployment import Answer, Deployment, RunDeployment
from documented import PLUGINS
from sqlalchemy import Connection, select
from waypost.plugin import WebhookRequest
from waypost.plugin.signatures import hmac_sign
from waypost.store.gateways import Gateway
from waypost.store.tables import channel_event, conversation, delivery, inbound_message, parked_event
from world import Partner

META = ("whatsapp", "messenger", "instagram")
#: Where the document sends each plugin's deliveries.
DOCUMENT = {
    "whatsapp": "/api/webhook.php",
    "whatsapp_twilio": "/api/webhook.php",
    "sms_twilio": "/api/webhook.php",
    "email_sendgrid": "/api/webhook.php",
    "messenger": "/api/webhook-messenger.php",
    "instagram": "/api/webhook-messenger.php",
}


async def post(gateway: Deployment, request: WebhookRequest, path: str | None = None) -> Answer:
    """Make a provider's request, to its own URL or to another path."""
    target = path or request.url.removeprefix(gateway.url)
    answer = await gateway.call(request.method, target, data=request.body or None, headers=list(request.headers))
    await gateway.node.inbox.drain()
    return answer


async def column(gateway: Deployment, wanted: Any) -> list[Any]:
    """A column of all rows, oldest first where the table has ids."""

    def read(conn: Connection) -> list[Any]:
        return [row[0] for row in conn.execute(select(wanted).order_by(*wanted.table.primary_key))]

    return await gateway.database.read(read)


def inbound(gateway: Deployment, plugin: str, path: str, text: str = "Hello") -> WebhookRequest:
    """A person's message, signed for this path."""
    simulator = gateway.simulators[plugin]
    simulator.inbound_url = gateway.url + path
    return simulator.inbound(text)


def row_of(partner: Partner, plugin: str) -> Gateway:
    return next(row for row in partner.gateways if row.plugin == plugin)


# ---- handshakes


@pytest.mark.parametrize("path", ["/webhooks/whatsapp", "/api/webhook.php"])
async def test_every_apps_handshake_is_answered(gateway: Deployment, path: str) -> None:
    """However many share the URL: a handshake names nobody."""
    for number in range(12):
        app = {"app_secrets": [f"secret-{number}"], "verify_token": f"token-{number}"}
        settings = {"phone_number_id": f"55{number}", "access_token": "x"}
        await gateway.configured("whatsapp", settings, app)
    for number in range(12):
        asked = f"{path}?hub.mode=subscribe&hub.challenge=7&hub.verify_token=token-{number}"
        answer = await gateway.call("GET", asked)
        assert (answer.status, answer.text) == (200, "7"), number


@pytest.mark.parametrize("plugin", ["whatsapp", "messenger", "instagram", "email_sendgrid", "sms_twilio"])
async def test_without_a_secret_the_provider_is_asked_to_try_again(run: RunDeployment, plugin: str) -> None:
    gateway = await run([plugin])
    settings: dict[str, dict[str, Any]] = {
        "whatsapp": {"phone_number_id": "55", "access_token": "x"},
        "messenger": {"page_id": "55", "page_access_token": "x"},
        "instagram": {"instagram_id": "55", "access_token": "x"},
        "email_sendgrid": {"api_key": "SG.a.b", "from_address": "x@example.com"},
        "sms_twilio": {"account_sid": "AC" + "0" * 32, "auth_tokens": []},
    }
    row = await gateway.configured(plugin, settings[plugin])
    answer = await gateway.call("POST", f"/webhooks/{plugin}/{row.id}", data=b"{}")
    assert (answer.status, answer.text) == (503, "unavailable")
    assert await column(gateway, delivery.c.id) == []


async def test_a_secret_in_the_url_or_a_header_is_not_kept(run: RunDeployment) -> None:
    gateway = await run(["email_sendgrid"])
    secret = "vault & canary"
    row = await gateway.configured(
        "email_sendgrid", {"api_key": "SG.a.b", "inbound_secret": secret, "from_address": "x@example.com"}
    )
    mail = gateway.simulators["email_sendgrid"].unsigned_inbound("hello")
    headers = [*mail.headers, ("X-Copy", f"Bearer {secret}"), ("X-Other", "kept")]
    path = f"/webhooks/email_sendgrid/{row.id}?a=1&key=vault%20%26+canary"
    assert (await gateway.call("POST", path, data=mail.body, headers=headers)).status == 200
    await gateway.node.inbox.drain()
    (url,), (kept,) = await column(gateway, delivery.c.url), await column(gateway, delivery.c.headers)
    assert "canary" not in url + kept
    assert url.startswith(f"{gateway.url}/webhooks/email_sendgrid/{row.id}?a=1&key=")
    assert ["x-other", "kept"] in orjson.loads(kept)
    assert len(await column(gateway, inbound_message.c.id)) == 1


@pytest.mark.parametrize("plugin", META)
async def test_the_handshake_is_answered_on_every_url(gateway: Deployment, partner: Partner, plugin: str) -> None:
    simulator: Any = gateway.simulators[plugin]
    paths = (f"/webhooks/{plugin}", f"/webhooks/{plugin}/{row_of(partner, plugin).id}", DOCUMENT[plugin])
    before = await gateway.rows()
    for path in paths:
        right = await post(gateway, simulator.handshake(gateway.url + path, challenge="1158201444"))
        assert (right.status, right.text) == (200, "1158201444"), path
        for token in ("", "wrong", simulator.verify_token + "x", simulator.verify_token.upper(), "✓"):
            wrong = await post(gateway, simulator.handshake(gateway.url + path, token=token))
            assert (wrong.status, wrong.text) == (401, "unauthorized"), (path, token)
    assert await gateway.rows() == before


@pytest.mark.parametrize("plugin", META)
async def test_one_products_token_is_no_other_products(gateway: Deployment, partner: Partner, plugin: str) -> None:
    simulator: Any = gateway.simulators[plugin]
    other = next(name for name in META if name != plugin)
    path = f"/webhooks/{other}/{row_of(partner, other).id}"
    assert (await post(gateway, simulator.handshake(gateway.url + path))).status == 401


async def test_a_challenge_is_echoed_as_plain_text(gateway: Deployment, partner: Partner) -> None:
    simulator: Any = gateway.simulators["whatsapp"]
    request = simulator.handshake(f"{gateway.url}/webhooks/whatsapp", challenge="<script>alert(1)</script>")
    answer = await post(gateway, request)
    assert (answer.text, answer.headers["Content-Type"]) == ("<script>alert(1)</script>", "text/plain")


# ---- posts


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_an_inbound_message_arrives_on_every_url(gateway: Deployment, partner: Partner, plugin: str) -> None:
    row = row_of(partner, plugin)
    paths = [f"/webhooks/{plugin}/{row.id}", f"/webhooks/{plugin}", DOCUMENT[plugin]]
    for path in paths:
        answer = await post(gateway, inbound(gateway, plugin, path))
        assert answer.status == 200, path
    assert await column(gateway, delivery.c.plugin) == [plugin] * 3
    assert await column(gateway, delivery.c.state) == ["applied"] * 3
    assert await column(gateway, inbound_message.c.gateway_id) == [row.id] * 3


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_a_receipt_at_the_documents_url_moves_the_message(run: RunDeployment, plugin: str) -> None:
    gateway = await run(PLUGINS)
    simulator: Any = gateway.simulators[plugin]
    partner = await gateway.newcomer()
    row = row_of(partner, plugin)
    app = await gateway.app(partner.org)
    key = await gateway.key(app)
    await gateway.route(app, row)
    simulator.webhook_url = gateway.url + DOCUMENT[plugin]
    body = {"subject": "Hello", "htmlContent": "Hello"} if row.channel == "EMAIL" else {"content": "Hello"}
    answer = await gateway.send(key, {"channel": row.channel, "to": simulator.ordinary_recipient, **body})
    await gateway.settle()
    message = await gateway.message(answer.json["data"]["messageId"])
    assert message.status == ("READ" if plugin == "instagram" else "DELIVERED")
    assert message.settled_at is not None
    assert simulator.errors == []


async def test_messenger_is_not_taken_at_the_other_url_nor_mail_at_messengers(
    gateway: Deployment, partner: Partner
) -> None:
    for plugin in ("whatsapp", "email_sendgrid", "sms_twilio"):
        answer = await post(gateway, inbound(gateway, plugin, "/api/webhook-messenger.php"))
        assert (answer.status, answer.text) == (401, "unauthorized"), plugin
    assert (await gateway.rows())["delivery"] == 0


async def test_a_delivery_in_the_form_of_another_plugin_is_refused(gateway: Deployment, partner: Partner) -> None:
    """Recognition is a hint that costs nothing to forge: WhatsApp's secret does not sign for Messenger."""
    whatsapp: Any = gateway.simulators["whatsapp"]
    messenger: Any = gateway.simulators["messenger"]
    body = messenger.inbound("Hello").body
    signature = "sha256=" + hmac_sign(whatsapp.app_secret, body)
    for path in ("/api/webhook-messenger.php", "/api/webhook.php", "/webhooks/messenger"):
        request = WebhookRequest(
            method="POST", url=gateway.url + path, body=body,
            headers=(("content-type", "application/json"), ("x-hub-signature-256", signature)),
        )  # fmt: skip
        assert (await post(gateway, request)).status == 401


# ---- two provider apps of one plugin


def numbers(*refs: str, statuses: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Changes of WhatsApp numbers: a text for each, or a status for a provider id."""
    made = []
    for place, ref in enumerate(refs):
        value: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550199000", "phone_number_id": ref},
        }
        if statuses is not None:
            value["statuses"] = [
                {"id": provider_id, "status": status, "timestamp": "1794300000", "recipient_id": "15550100000"}
                for provider_id, status in statuses.items()
            ]
        else:
            value["contacts"] = [{"profile": {"name": "Ada"}, "wa_id": "15550100000"}]
            text = {"from": "15550100000", "id": f"wamid.{ref}.{place}", "timestamp": "1794300000", "type": "text"}
            value["messages"] = [text | {"text": {"body": "Hello"}}]
        made.append({"value": value, "field": "messages"})
    return made


def signed(gateway: Deployment, secret: str, changes: list[dict[str, Any]], path: str) -> WebhookRequest:
    body = orjson.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": changes}]})
    signature = "sha256=" + hmac_sign(secret, body)
    headers = (("content-type", "application/json"), ("x-hub-signature-256", signature))
    return WebhookRequest(method="POST", url=gateway.url + path, headers=headers, body=body)


@pytest.fixture
async def two(gateway: Deployment) -> tuple[Gateway, Gateway]:
    """Two WhatsApp numbers, each under a Meta app of its own."""
    simulator = gateway.simulators["whatsapp"]
    own = simulator.account_settings()
    org = await gateway.organization(currency="SGD")
    made = []
    for number, secret in (("111", "first-secret"), ("222", "second-secret")):
        app = await gateway.app(org)
        made.append(
            await gateway.configured(
                "whatsapp",
                own | {"phone_number_id": number},
                {"app_secrets": [secret], "verify_token": f"token-{number}"},
                app_id=app.id,
            )
        )
    return made[0], made[1]


@pytest.mark.parametrize("path", ["/api/webhook.php", "/webhooks/whatsapp"])
async def test_each_app_is_believed_for_its_own_number(
    gateway: Deployment, two: tuple[Gateway, Gateway], path: str
) -> None:
    for row, number, secret in zip(two, ("111", "222"), ("first-secret", "second-secret"), strict=True):
        assert (await post(gateway, signed(gateway, secret, numbers(number), path))).status == 200
        assert (await column(gateway, inbound_message.c.gateway_id))[-1] == row.id
        assert (await column(gateway, inbound_message.c.app_id))[-1] == row.app_id
    for number, token in (("111", "token-111"), ("222", "token-222")):
        query = f"hub.mode=subscribe&hub.challenge={number}&hub.verify_token={token}"
        answer = await gateway.call("GET", f"{path}?{query}")
        assert (answer.status, answer.text) == (200, number)


@pytest.mark.parametrize("path", ["/api/webhook.php", "/webhooks/whatsapp", "/webhooks/whatsapp/FIRST"])
async def test_an_app_cannot_speak_for_another_apps_number(
    gateway: Deployment, two: tuple[Gateway, Gateway], path: str
) -> None:
    """Signed truly by the first app, with the second app's number inside: nothing of the second is touched."""
    path = path.replace("FIRST", two[0].id)
    mixed = numbers("111", "222")
    answer = await post(gateway, signed(gateway, "first-secret", mixed, path))
    assert answer.status == 200
    assert await column(gateway, inbound_message.c.gateway_id) == [two[0].id]
    assert set(await column(gateway, conversation.c.gateway_id)) == {two[0].id}
    receipt = numbers("222", statuses={"wamid.victim": "delivered"})
    await post(gateway, signed(gateway, "first-secret", [*numbers("111"), *receipt], path))
    assert await column(gateway, parked_event.c.gateway_id) == []
    assert set(await column(gateway, channel_event.c.gateway_id)) == {""}
    assert await column(gateway, delivery.c.state) == ["applied"] * 2


async def test_a_delivery_for_another_apps_number_alone_is_refused_or_ineffective(
    gateway: Deployment, two: tuple[Gateway, Gateway]
) -> None:
    for path in ("/api/webhook.php", "/webhooks/whatsapp", f"/webhooks/whatsapp/{two[1].id}"):
        answer = await post(gateway, signed(gateway, "first-secret", numbers("222"), path))
        assert (answer.status, answer.text) == (401, "unauthorized"), path
    await post(gateway, signed(gateway, "first-secret", numbers("222"), f"/webhooks/whatsapp/{two[0].id}"))
    assert await column(gateway, inbound_message.c.gateway_id) == []
    assert await column(gateway, conversation.c.gateway_id) == []


@pytest.mark.postgres
async def test_a_receipt_by_another_app_does_not_move_a_message(gateway: Deployment, partner: Partner) -> None:
    """The attacker's own app is genuine; it names the victim's number, provider id and correlation."""
    simulator: Any = gateway.simulators["whatsapp"]
    app = await gateway.app(partner.org)
    key = await gateway.key(app)
    await gateway.route(app, row_of(partner, "whatsapp"))
    answer = await gateway.send(key, {"channel": "WHATSAPP", "to": "+15550100032", "content": "Hello"})
    message_id = answer.json["data"]["messageId"]
    victim = simulator.journal[-1]
    attacker = await gateway.configured(
        "whatsapp", simulator.account_settings() | {"phone_number_id": "666"},
        {"app_secrets": ["attackers"], "verify_token": "attackers"},
    )  # fmt: skip
    for number in ("666", simulator.phone_number_id):
        changes = numbers(number, statuses={victim.provider_id: "read"})
        changes[0]["value"]["statuses"][0]["biz_opaque_callback_data"] = victim.correlation
        for path in (f"/webhooks/whatsapp/{attacker.id}", "/webhooks/whatsapp", "/api/webhook.php"):
            await post(gateway, signed(gateway, "attackers", changes, path))
    assert (await gateway.message(message_id)).status == "SENT"
    # The same, by the app whose number it is.
    await post(gateway, signed(gateway, simulator.app_secret, changes, "/webhooks/whatsapp"))
    assert (await gateway.message(message_id)).status == "READ"


async def test_two_numbers_of_one_app_in_one_delivery(gateway: Deployment) -> None:
    own = gateway.simulators["whatsapp"].account_settings()
    shared = await gateway.provider_app_of("whatsapp", {"app_secrets": ["shared"], "verify_token": "shared"})
    rows = [
        await gateway.configured("whatsapp", own | {"phone_number_id": number}, provider_app_id=shared.id)
        for number in ("111", "222")
    ]
    for path in ("/api/webhook.php", "/webhooks/whatsapp", f"/webhooks/whatsapp/{rows[0].id}"):
        before = await column(gateway, inbound_message.c.gateway_id)
        changes = numbers("111", "222")
        for change in changes:
            change["value"]["messages"][0]["id"] += path
        await post(gateway, signed(gateway, "shared", changes, path))
        assert (await column(gateway, inbound_message.c.gateway_id))[len(before) :] == [row.id for row in rows], path


# ---- batches with pieces that nobody knows


@pytest.mark.postgres
async def test_whatsapps_neighbours_of_the_unknown_are_applied(
    gateway: Deployment, two: tuple[Gateway, Gateway]
) -> None:
    strange = numbers("111")[0]
    strange["value"]["messages"] = [
        {"from": "15550100000", "id": "wamid.new", "timestamp": "1794300000", "type": "hologram", "hologram": {"a": 1}},
        "not an object",
        {"from": "15550100000", "id": "wamid.old", "timestamp": "1794300000", "type": "text", "text": {"body": "Hi"}},
    ]
    strange["value"]["statuses"] = [{"id": "wamid.s", "status": "teleported"}, None]
    changes = [{"field": "brand_new_field", "value": {"x": 1}}, strange, 7, *numbers("111", statuses={"w": "read"})]
    answer = await post(gateway, signed(gateway, "first-secret", changes, "/api/webhook.php"))
    assert answer.status == 200
    assert await column(gateway, delivery.c.state) == ["applied"]
    assert set(await column(gateway, inbound_message.c.provider_id)) == {"wamid.new", "wamid.old"}
    assert await column(gateway, parked_event.c.provider_id) == ["w"]
    raw = "".join(await column(gateway, channel_event.c.data))
    for piece in ("brand_new_field", "not an object", "teleported"):
        assert piece in raw
    assert "hologram" in "".join(await column(gateway, inbound_message.c.content))


@pytest.mark.postgres
async def test_sendgrids_neighbours_of_the_unknown_are_applied(gateway: Deployment, partner: Partner) -> None:
    simulator: Any = gateway.simulators["email_sendgrid"]
    request = {"channel": "EMAIL", "to": "late@simulator.example", "subject": "Hello", "htmlContent": "Hello"}
    answer = await gateway.send(partner.secret, request)
    late = [orjson.loads(item.body) for item in simulator._late]
    known = [event for batch in late for event in batch]
    batch = simulator.batch([{"event": "levitated", "sg_event_id": "new"}, *known, {"nothing": 1}])
    assert (await post(gateway, batch)).status == 200
    assert (await gateway.message(answer.json["data"]["messageId"])).status == "DELIVERED"
    assert "levitated" in "".join(await column(gateway, channel_event.c.data))
    assert await column(gateway, delivery.c.state) == ["applied"]


@pytest.mark.parametrize("plugin", ["messenger", "instagram"])
async def test_the_messaging_products_neighbours_of_the_unknown_are_applied(
    gateway: Deployment, partner: Partner, plugin: str
) -> None:
    simulator: Any = gateway.simulators[plugin]
    events = [
        simulator.from_person(levitation={"height": 2}),
        simulator.from_person(message={"mid": "m-new", "text": "Hello"}),
        "not an object",
    ]
    envelope = simulator.envelope(*events)
    envelope["entry"].append({"id": simulator.account_id, "brand_new": [1]})
    assert (await post(gateway, simulator.signed(envelope))).status == 200
    assert await column(gateway, inbound_message.c.provider_id) == ["m-new"]
    raw = "".join(await column(gateway, channel_event.c.data))
    for piece in ("levitation", "not an object", "brand_new"):
        assert piece in raw
    assert await column(gateway, delivery.c.state) == ["applied"]


async def test_twilios_unknown_status_is_kept(gateway: Deployment, partner: Partner) -> None:
    simulator: Any = gateway.simulators["sms_twilio"]
    form = {"MessageSid": "SM" + "1" * 32, "AccountSid": simulator.account_settings()["account_sid"]}
    request = simulator.webhook(simulator.inbound_url, form | {"MessageStatus": "levitating", "To": "+6591234567"})
    assert (await post(gateway, request)).status == 200
    assert "levitating" in "".join(await column(gateway, channel_event.c.data))
    assert await column(gateway, delivery.c.state) == ["applied"]


async def test_a_raw_delivery_is_kept_to_the_byte(gateway: Deployment, partner: Partner) -> None:
    request = inbound(gateway, "whatsapp", "/api/webhook.php", "Größe ✓ 😀 a/b")
    assert (await post(gateway, request)).status == 200
    assert [body.encode() for body in await column(gateway, delivery.c.body)] == [request.body]
