"""Every documented webhook, as signed, at a gateway that has the secrets it was signed with."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from deployment import Deployment, RunDeployment
from documented import PLUGINS, Documented, account, documented
from held_clock import HeldClock
from sqlalchemy import Connection, select
from waypost.clock import from_datetime
from waypost.inbox.parse import Placed
from waypost.plugin import ChannelEvent, DeliveryUpdate, InboundMessage, UnknownEvent
from waypost.store import deliveries
from waypost.store.database import Database
from waypost.store.gateways import Gateway
from waypost.store.tables import channel_event, delivery, inbound_message, parked_event
from waypost_sms_twilio.signature import sign

PUBLIC = "https://gw.example.test"
#: Shortly after the documented deliveries, whose signatures may not be old.
NOW = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)


@pytest.fixture
def held(store: Database) -> HeldClock:
    clock = HeldClock(from_datetime(NOW))
    store.clock = clock
    return clock


@pytest.fixture
async def believing(run: RunDeployment, held: HeldClock) -> Deployment:
    """A gateway whose clock stands shortly after the deliveries, at the host that they were made for."""
    return await run(PLUGINS, public_url=PUBLIC)


async def post(gateway: Deployment, given: Documented, row: Gateway, path: str) -> Any:
    """Post a delivery; Twilio's, whose signature covers the URL, is signed again for ours by the same rule."""
    query = urlsplit(given.request.url).query
    headers = dict(given.request.headers)
    if given.secret is None:
        query = "key=fixture-inbound"
    path = f"{path}?{query}" if query else path
    if row.plugin in ("sms_twilio", "whatsapp_twilio"):
        form = parse_qsl(given.request.body.decode(), keep_blank_values=True)
        is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        assert headers["x-twilio-signature"] == sign(given.secret or "", given.request.url, form if is_form else ())
        headers["x-twilio-signature"] = sign(given.secret or "", PUBLIC + path, form if is_form else ())
    answer = await gateway.call(given.request.method, path, data=given.request.body or None, headers=headers)
    await gateway.node.inbox.drain()
    return answer


async def kept(gateway: Deployment) -> tuple[str, list[Placed], set[tuple[str, str]]]:
    """The last delivery's state, the events in it, and under which (gateway, id) anything at all is on record."""

    def read(conn: Connection) -> tuple[str, Any, set[tuple[str, str]]]:
        row = conn.execute(select(delivery).order_by(delivery.c.id.desc()).limit(1)).one()
        ids: set[tuple[str, str]] = set()
        for table, column in (
            (inbound_message, inbound_message.c.provider_id),
            (parked_event, parked_event.c.event_id),
            (channel_event, channel_event.c.event_id),
        ):
            ids |= {(found[0], found[1]) for found in conn.execute(select(table.c.gateway_id, column))}
        return row.state, deliveries._delivery(row._mapping), ids

    state, stored, ids = await gateway.database.read(read)
    return state, list(gateway.node.inbox._parser.parse(stored).events), ids


def on_record(placed: Placed) -> str | None:
    """The id under which an event is to be found; None where it only changes what is known already."""
    event: ChannelEvent = placed.event
    if isinstance(event, InboundMessage):
        return event.provider_id if event.change == "new" and placed.gateways else None
    if isinstance(event, DeliveryUpdate) and placed.gateways and event.watermark is not None:
        return None
    return event.event_id


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_every_documented_webhook_is_believed_stored_and_applied(believing: Deployment, plugin: str) -> None:
    given = account(plugin)
    row = await believing.configured(plugin, dict(given.settings), dict(given.provider_app))
    cases = [item for item in documented() if item.plugin == plugin]
    assert len(cases) >= 15
    for item in cases:
        before = await believing.rows()
        answer = await post(believing, item, row, f"/webhooks/{plugin}/{row.id}")
        assert answer.status == 200, item.name
        after = await believing.rows()
        assert after["delivery"] == before["delivery"] + 1, item.name
        state, placed, ids = await kept(believing)
        assert state == "applied", item.name
        assert placed, item.name
        for one in placed:
            wanted = on_record(one)
            gateway_id = one.gateways[0].id if one.gateways else ""
            assert wanted is None or (gateway_id, wanted) in ids, (item.name, one.event)
        kinds = Counter(type(one.event) for one in placed)
        if UnknownEvent in kinds:
            assert all(one.event.raw for one in placed), item.name
    states = await believing.database.read(lambda conn: conn.execute(select(delivery.c.state).distinct()).all())
    assert [state for (state,) in states] == ["applied"]


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_delivered_again_it_changes_nothing(believing: Deployment, plugin: str) -> None:
    given = account(plugin)
    row = await believing.configured(plugin, dict(given.settings), dict(given.provider_app))
    cases = [item for item in documented() if item.plugin == plugin]
    seen = []
    for _ in range(2):
        for item in cases:
            assert (await post(believing, item, row, f"/webhooks/{plugin}/{row.id}")).status == 200
        seen.append(await believing.rows())
    assert seen[1] == seen[0] | {"delivery": 2 * len(cases)}


async def test_each_is_recognised_at_the_urls_of_the_document(believing: Deployment) -> None:
    """One gateway for each plugin: whatever they have in common, only one of them verifies a delivery."""
    rows = {}
    for plugin in PLUGINS:
        given = account(plugin)
        rows[plugin] = await believing.configured(plugin, dict(given.settings), dict(given.provider_app))
    missed = []
    for item in documented():
        path = "webhook-messenger" if item.plugin in ("messenger", "instagram") else "webhook"
        answer = await post(believing, item, rows[item.plugin], f"/api/{path}.php")
        if answer.status != 200:
            missed.append((item.plugin, item.name))
            continue
        found = await believing.database.read(
            lambda conn: conn.execute(select(delivery.c.plugin).order_by(delivery.c.id.desc()).limit(1)).scalar_one()
        )
        assert found == item.plugin, item.name
    assert missed == []
