"""Parsers meet strange deliveries: no uncaught exception, and none takes longer than 100 ms.

20,000 for each parser in an ordinary run; `WAYPOST_FUZZ=1000000 pytest tests/channels/test_parser_fuzz.py -s` by hand,
and another seed with `WAYPOST_FUZZ_SEED`. Every event that comes out must be one that the inbox can store.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from documented import PLUGINS, account, documented
from mutation import STRANGE, Mutator
from waypost import watermarks
from waypost.clock import from_datetime
from waypost.event_codec import dump, load_delivery_update, storable
from waypost.host.loader import load_channels
from waypost.inbox.placement import Placed
from waypost.inbox.written import _row
from waypost.plugin import (
    AddressChange,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    PriceUpdate,
    WebhookContext,
    WebhookRequest,
)
from waypost.progress.case import Rules
from waypost.receipts import PlacedUpdate, _parked, _report
from waypost.store.events import AttemptRef
from waypost.store.gateways import Gateway

PAYLOADS = int(os.environ.get("WAYPOST_FUZZ", "20000"))
SEED = int(os.environ.get("WAYPOST_FUZZ_SEED", "1"))
LONGEST = 0.1
NOW = datetime(2026, 11, 10, 9, 30, tzinfo=UTC)

GATEWAY = Gateway(
    id="gw", name="gw", plugin="p", channel="C", provider_app_id=None, app_id=None, account_ref=None, settings="{}",
    secrets="", senders=(), mode="live", status="active", status_reason="", rate_per_second=None, concurrency=1,
    receipt_window=1, created_at=0,
)  # fmt: skip
RULES = Rules(
    last_receipt=lambda _: "read",
    receipt_window=lambda _: 1,
    on_unknown=lambda _: "hold",
    has_watermarks=lambda _: True,
)

#: Inbound Parse's forms go through another parser than the batches of events.
PARSERS = (*PLUGINS, "email_sendgrid inbound")


def _seeds(parser: str) -> list[WebhookRequest]:
    plugin = parser.partition(" ")[0]
    mails = parser != plugin
    return [
        item.request
        for item in documented()
        if item.plugin == plugin and item.name.startswith("inbound_parse") == mails
    ]


@pytest.mark.timeout(60 + PAYLOADS // 200)
@pytest.mark.parametrize("parser", PARSERS)
def test_no_delivery_breaks_a_parser_or_holds_it_up(parser: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = parser.partition(" ")[0]
    plugin = load_channels([name])[name].plugin
    assert plugin is not None
    given = account(name)
    ctx = WebhookContext(
        provider_app=plugin.info.provider_app_settings.model_validate(given.provider_app),
        account=plugin.info.account_settings.model_validate(given.settings),
        log=None,
        now=NOW,
    )
    mutator = Mutator(_seeds(parser), SEED)
    plugin.parse_event(ctx, _seeds(parser)[0])  # imports what it needs
    slowest, culprit, found = 0.0, b"", 0
    for number in range(PAYLOADS):
        request = mutator.mutated()
        try:
            taken, events = _parsed(plugin, ctx, request)
        except Exception as error:
            error.add_note(f"payload {number} of {parser}, seed {SEED}: {request!r:.3000}")
            raise
        if taken > LONGEST:  # a crowded machine is not the parser's fault: the best of three counts
            taken = min(taken, *(_parsed(plugin, ctx, request)[0] for _ in range(2)))
        if taken > slowest:
            slowest, culprit = taken, request.body
        found += len(events)
        plugin.recognize(request)
        for event in events:
            try:
                _can_be_stored(storable(event))
            except Exception as error:
                error.add_note(f"payload {number} of {parser}, seed {SEED}: {request!r:.3000}\nevent: {event!r:.3000}")
                raise
    with capsys.disabled():
        if "WAYPOST_FUZZ" in os.environ:
            told = f"{PAYLOADS} payloads, {found} events, slowest {slowest * 1e3:.2f} ms: {culprit[:300]!r}"
            sys.stdout.write(f"\n{parser}: {told}\n")
    assert found > PAYLOADS // 2  # they are strange, but not all rubbish
    assert slowest < LONGEST, culprit[:3000]


def test_mutations_leave_their_material_as_it_was() -> None:
    """Else payloads grow with every one that was made, and the same seed does not make the same ones."""
    mutator, before = Mutator(_seeds("whatsapp"), SEED), repr(STRANGE)
    made = [mutator.mutated() for _ in range(5000)]
    assert repr(STRANGE) == before
    again = Mutator(_seeds("whatsapp"), SEED)
    assert made == [again.mutated() for _ in range(5000)]


def _parsed(plugin: Any, ctx: WebhookContext, request: WebhookRequest) -> tuple[float, list[Any]]:
    began = time.perf_counter()
    events = plugin.parse_event(ctx, request)
    return time.perf_counter() - began, events


def _can_be_stored(event: Any) -> None:
    """What the inbox writes of an event: texts that both databases take."""
    texts = [dump(event), event.event_id, event.account_ref]
    if isinstance(event, DeliveryUpdate):
        parked = _parked(PlacedUpdate(event, ("gw",)), 0)
        report = _report(event, "gw", AttemptRef("msg", 1, 1), 0, learned=True).evidence
        texts += [parked.event, parked.provider_id, parked.correlation, report.key, report.code]
        texts += watermarks.names(("gw",), event, RULES)
        load_delivery_update(parked.event)
        json.dumps(report.data).encode()
    if isinstance(event, InboundMessage):
        row = _row(event, Placed(event, (GATEWAY,), (GATEWAY,)), 0)
        texts += [row.provider_id, row.sender, row.recipient, row.content, row.sender_name, row.reply_to]
    if isinstance(event, Engagement | PriceUpdate):
        texts += [event.provider_id, event.correlation]
    if isinstance(event, Engagement | InboundMessage):
        texts += [address.value for address in event.sender]
    if isinstance(event, ConsentChange):
        texts += [event.address.value, event.scope, event.state]
    if isinstance(event, AddressChange):
        texts += [event.old.value, event.new.value]
    assert event.event_id
    for text in texts:
        if text is not None:
            text.encode()
            assert "\0" not in text
    if event.occurred_at is not None:
        from_datetime(event.occurred_at)


@pytest.fixture(autouse=True)
def _collected() -> Any:
    """What earlier tests left must not be searched for garbage while a payload is timed."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
