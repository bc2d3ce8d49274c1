"""Does the parser read what the provider sends, and survive everything else?"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import orjson

from waypost.event_codec import dump
from waypost.plugin.content import Text
from waypost.plugin.events import ChannelEvent, InboundMessage, UnknownEvent
from waypost.plugin.types import Recognition, WebhookContext, WebhookRequest
from waypost.testing import strange
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.stage import INBOUND_TEXT, Stage, on_stage
from waypost.testing.subject import Subject

#: An id of an event is stored in an index.
LONGEST_ID = 500
#: Bodies that no provider sends.
STRANGE_BODIES = (
    b'{"waypost": "no such thing"}', b'{"type": "from.the.future", "data": {"id": "1"}}', b"[]", b"{}", b"null", b"1",
    b'[{"event": "from the future"}]', b'[null, 1, "x", [], {}]', b"waypost=1&event=from+the+future", b"", b"\xff\xfe",
    b'"\\ud800"', b"[" * 5000, b'{"a":' * 3000, b"1e400", b'{"entry": 1}', b"NaN", b'{"a": 1e400}',
)  # fmt: skip


class ParsingChecks(Subject):
    """`parse_event` and `recognize`."""

    def parses(self) -> None:
        """Raise `NotApplicable` for a plugin that parses nothing."""
        if "parse_event" not in self.channel.hooks:
            raise NotApplicable("not applicable: it receives no webhooks")

    def events_of(self, ctx: WebhookContext, request: WebhookRequest, what: str = "a delivery") -> list[ChannelEvent]:
        """The delivery's events, each of which can be stored. Says `CheckFailed` where they cannot."""
        try:
            events = self.hooks.parse_event(ctx=ctx, request=request)
        except Exception as error:  # noqa: BLE001 - a stranger's code
            body = request.body[:300]
            raise CheckFailed(f"{what}: parse_event raised {type(error).__name__}: {error}\nfor {body!r}") from None
        if events is None:
            return []
        if not isinstance(events, Sequence) or not all(isinstance(event, ChannelEvent) for event in events):
            raise CheckFailed(f"{what}: parse_event returned {type(events).__name__}, not a sequence of events")
        for event in events:
            if not isinstance(event.event_id, str) or not 0 < len(event.event_id) <= LONGEST_ID:
                raise CheckFailed(f"{what}: the event id {event.event_id!r} is no text of 1 to {LONGEST_ID} characters")
            _hold_storable(event, what)
        return list(events)

    @check(
        "silver", "Parse what the provider sends into the event that says it; UnknownEvent is for what you do not know."
    )
    async def test_parse_deliveries(self) -> None:
        """Every delivery of the simulator's becomes events, and an inbound message keeps its text and sender."""
        self.parses()
        async with on_stage(self) as stage:
            for request in await stage.deliveries():
                events = self.events_of(stage.webhook_context(), request)
                if not events:
                    raise CheckFailed("a delivery of the simulator's became no event at all")
                unknown = [event for event in events if isinstance(event, UnknownEvent)]
                if unknown:
                    raise CheckFailed(f"a delivery of the simulator's is unknown to its parser: {unknown[0].reason}")
            self._hold_inbound(stage)

    def _hold_inbound(self, stage: Stage) -> None:
        request = stage.inbound()
        if request is None:
            return
        events = self.events_of(stage.webhook_context(), request, "an inbound message")
        found = [event for event in events if isinstance(event, InboundMessage)]
        if len(found) != 1:
            raise CheckFailed(f"an inbound message became {len(found)} InboundMessage")
        message = found[0]
        contents = [getattr(message.content, name, None) for name in ("body", "text", "caption")]
        if not any(isinstance(text, str) and text.strip() == INBOUND_TEXT for text in contents):
            raise CheckFailed("the text of an inbound message was lost or changed")
        if not message.sender or not message.provider_id:
            raise CheckFailed("an inbound message has no sender or no provider id")
        if isinstance(message.content, Text) and message.sender[0].kind not in self.channel.info.address_kinds:
            raise CheckFailed(f"its sender is an address of the kind {message.sender[0].kind!r}, which is not declared")

    @check(
        "silver",
        "Derive event ids from the provider's ids and status (or a digest of the piece), never from clock or chance.",
    )
    async def test_parse_replay(self) -> None:
        """The same delivery parsed again, later, gives the same ids; different deliveries give different ones."""
        self.parses()
        async with on_stage(self) as stage:
            seen: dict[str, ChannelEvent] = {}
            for request in await stage.deliveries():
                ctx = stage.webhook_context()
                first = self.events_of(ctx, request)
                later = self.events_of(replace(ctx, now=ctx.now + timedelta(days=1)), request)
                if [event.event_id for event in first] != [event.event_id for event in later]:
                    raise CheckFailed("a delivery parsed again gives other event ids")
                ids = [event.event_id for event in first]
                if len(set(ids)) < len(ids):
                    raise CheckFailed("two events of one delivery share an id")
                for event in first:
                    if _said(seen.setdefault(event.event_id, event)) != _said(event):
                        raise CheckFailed(f"two deliveries that say different things gave the id {event.event_id!r}")

    @check(
        "silver",
        "Turn what you do not know into an UnknownEvent that keeps the raw piece, and go on with its neighbours.",
    )
    async def test_parse_unknown(self) -> None:
        """Deliveries of a kind that nobody knows become `UnknownEvent`, and never an exception."""
        self.parses()
        async with on_stage(self) as stage:
            deliveries = await stage.deliveries()
            sample = deliveries[0] if deliveries else WebhookRequest(method="POST", url=stage.webhook_url)
            for body in STRANGE_BODIES:
                for kind in ("application/json", strange.FORM, None):
                    headers = (("content-type", kind),) if kind else ()
                    request = replace(sample, body=body, headers=headers, query=())
                    events = self.events_of(stage.webhook_context(), request, f"the body {body[:60]!r}")
                    known = [event for event in events if not isinstance(event, UnknownEvent)]
                    if known:
                        raise CheckFailed(f"the body {body[:60]!r} was taken for a {type(known[0]).__name__}")
            request = replace(sample, body=STRANGE_BODIES[0], headers=(("content-type", "application/json"),))
            if not self.events_of(stage.webhook_context(), request):
                raise CheckFailed("a JSON object of an unknown kind vanished: return an UnknownEvent for it")

    @check("silver", "Expect any JSON type anywhere: check before you index, convert or iterate.")
    def test_parse_fuzz(self) -> None:
        """The parser (and `recognize`) survive garbled deliveries, random bytes and random JSON."""
        self.parses()
        ctx, deliveries = self._sampled()
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st

        leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
        junk = st.recursive(
            leaves, lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=8), child, max_size=3)
        )

        @settings(
            max_examples=self.fuzz_examples,
            deadline=None,
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.sampled_from(deliveries), st.integers(0, 2**32), junk, st.binary(max_size=200))
        def survive(request: WebhookRequest, seed: int, value: Any, noise: bytes) -> None:
            chance = random.Random(seed)  # noqa: S311 - a seed, not a secret
            bodies = [strange.mutated(request, chance, value), replace(request, body=noise)]
            bodies.append(replace(request, body=_as_json(value)))
            for strange_one in bodies:
                self.events_of(ctx, strange_one, "a garbled delivery")
                self._recognized(strange_one)

        survive()

    def _sampled(self) -> tuple[WebhookContext, list[WebhookRequest]]:
        async def sample() -> tuple[WebhookContext, list[WebhookRequest]]:
            async with on_stage(self) as stage:
                return stage.webhook_context(), await stage.deliveries()

        with asyncio.Runner() as runner:
            ctx, deliveries = runner.run(sample())
        if not deliveries:
            raise CheckFailed("the simulator delivered no webhook")
        return ctx, deliveries

    @check("gold", "Parse every piece of a batch by itself; an event's id must not hang on its neighbours or place.")
    async def test_parse_batch(self) -> None:
        """Two deliveries in one give the events of both, in either order."""
        self._batches()
        async with on_stage(self) as stage:
            deliveries = await stage.deliveries()
            joined = 0
            for first in deliveries:
                for second in deliveries:
                    both = self.batch(first, second) if first is not second else None
                    if both is None:
                        continue
                    joined += 1
                    apart = [*self._ids(stage, first), *self._ids(stage, second)]
                    together = self._ids(stage, both)
                    if sorted(together) != sorted(apart):
                        raise CheckFailed("two deliveries in one give other events than one after the other")
            if not joined:
                raise CheckFailed(
                    "no two deliveries could be joined; override `batch` to join them as the provider does"
                )

    @check(
        "gold",
        "Read JSON with waypost.plugin.received.read_json: half a character in one event must not cost its neighbours.",
    )
    async def test_parse_neighbours(self) -> None:
        """An event whose text no strict reader of JSON takes leaves those beside it in one delivery as they are."""
        self._batches()
        async with on_stage(self) as stage:
            deliveries = await stage.deliveries()
            for beside, odd in permutations(deliveries, 2):
                if self.batch(odd, beside) is None:
                    continue
                known = set(self._ids(stage, beside))
                for changed in strange.with_unreadable_texts(odd):
                    both = self.batch(changed, beside)
                    lost = known - set(self._ids(stage, both)) if both is not None else set()
                    if lost:
                        raise CheckFailed(f"beside a piece with a strange text the event {min(lost)!r} was lost")

    def _batches(self) -> None:
        self.parses()
        if "batched_webhooks" not in self.channel.info.features:
            raise NotApplicable("not applicable: its provider does not batch")

    def _ids(self, stage: Stage, request: WebhookRequest) -> list[str]:
        return [event.event_id for event in self.events_of(stage.webhook_context(), request)]

    @check("gold", "Let recognize say for the provider's deliveries whose they are, and None, cheaply, for all others.")
    async def test_recognizes_own(self) -> None:
        """`recognize` knows the simulator's deliveries and their account, and nobody else's."""
        if "recognize" not in self.channel.hooks:
            raise NotApplicable("not applicable: it has no recognize")
        async with on_stage(self) as stage:
            field = self.channel.info.account_ref_field
            wanted = getattr(stage.account.account, field) if field else None
            for request in await stage.deliveries():
                found = self._recognized(request)
                if found is None:
                    raise CheckFailed("a delivery of the simulator's is not recognised")
                if found.account_ref not in (None, wanted):
                    raise CheckFailed(f"a delivery is taken for {found.account_ref!r}, which is not `{field}`")
            for body in STRANGE_BODIES:
                if self._recognized(WebhookRequest(method="POST", url=stage.webhook_url, body=body)) is not None:
                    raise CheckFailed(f"the body {body[:60]!r} is taken for the plugin's own")

    def _recognized(self, request: WebhookRequest) -> Recognition | None:
        if "recognize" not in self.channel.hooks:
            return None
        try:
            found = self.hooks.recognize(request=request)
        except Exception as error:  # noqa: BLE001 - a stranger's code
            raise CheckFailed(f"recognize raised {type(error).__name__} for {request.body[:300]!r}") from None
        if found is not None and not isinstance(found, Recognition):
            raise CheckFailed(f"recognize returned a {type(found).__name__}")
        return found


def _said(event: ChannelEvent) -> ChannelEvent:
    """What an event says, whenever and however it was said: a provider may repeat a price with every receipt."""
    return replace(event, raw={}, occurred_at=None)


def _hold_storable(event: ChannelEvent, what: str) -> None:
    try:
        dump(event)
    except (orjson.JSONEncodeError, TypeError, ValueError, RecursionError) as error:
        raise CheckFailed(f"{what}: a {type(event).__name__} cannot be stored: {error}") from None


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
