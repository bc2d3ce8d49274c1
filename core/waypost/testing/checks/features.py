"""Is every declared feature there? Each has a case: one of the kit's, or one that the author writes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from waypost.plugin.errors import ChannelError, OutsideWindow
from waypost.plugin.events import DeliveryUpdate, InboundMessage
from waypost.plugin.types import AccountHealth, LookupResult, SendAttempt, TemplateInfo, WebhookConnection
from waypost.plugin.web_simulator import WebSimulator
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.checks.verification import SHARED_SECRET
from waypost.testing.fault_server import Fault, FaultServer
from waypost.testing.stage import GATEWAY, NoHttp, Stage, on_stage
from waypost.testing.subject import Subject

#: Features whose case is in the kit, and the check that is it.
KIT_CASES = {
    "correlation": "correlation_returns",
    "batched_webhooks": "parse_batch",
    "lookup": "feature_lookup",
    "templates": "feature_templates",
    "replies": "feature_replies",
    "idempotent_send": "feature_idempotent_send",
    "service_window": "feature_service_window",
    "watermarks": "feature_watermarks",
    SHARED_SECRET: "verify_junk",
}


class FeatureChecks(Subject):
    """The declared features, and the optional hooks."""

    @check("gold", "Write a test method named test_feature_<name> in your contract class for a feature of your own.")
    def test_features_covered(self) -> None:
        """Every declared feature has a case, in the kit or in the author's class."""
        own = self.channel.info.features - KIT_CASES.keys()
        missing = sorted(name for name in own if not callable(getattr(self, f"test_feature_{name}", None)))
        if missing:
            raise CheckFailed(f"no case for {', '.join(missing)}")

    def _declares(self, feature: str) -> None:
        if feature not in self.channel.info.features:
            raise NotApplicable(f"not applicable: it does not declare {feature}")

    @check("gold", "Let lookup find what the provider accepted, and answer None or found=False for what it never saw.")
    async def test_feature_lookup(self) -> None:
        """`lookup` finds a message that was accepted, and does not invent one that was not."""
        self._declares("lookup")
        async with on_stage(self) as stage:
            message, began = self.message(stage.simulator), datetime.now(UTC)
            result = await stage.send(message, "att_lookup")
            found = await self._lookup(stage, SendAttempt(message=message, correlation="att_lookup", started_at=began,
                                                          provider_ids=result.provider_ids))  # fmt: skip
            if found is None or not found.found:
                raise CheckFailed("lookup does not find a message by the ids that send returned")
        async with on_stage(self) as stage:
            never = SendAttempt(message=self.message(stage.simulator), correlation="att_never", started_at=began)
            found = await self._lookup(stage, never)
            if found is not None and found.found:
                raise CheckFailed("lookup finds a message that was never sent")

    async def _lookup(self, stage: Stage, attempt: SendAttempt) -> LookupResult | None:
        found = await self.hooks.lookup(ctx=stage.context(attempt.correlation), attempt=attempt)
        if found is not None and not isinstance(found, LookupResult):
            raise CheckFailed(f"lookup returned a {type(found).__name__}")
        return found

    @check("gold", "Return a TemplateInfo for each of the account's templates; let the simulator have one at least.")
    async def test_feature_templates(self) -> None:
        """`list_templates` lists the simulator's templates."""
        self._declares("templates")
        async with on_stage(self) as stage:
            found = await self.hooks.list_templates(ctx=stage.context())
        if not isinstance(found, Sequence) or not all(isinstance(one, TemplateInfo) for one in found):
            raise CheckFailed("list_templates does not return a sequence of TemplateInfo")
        if not found:
            raise CheckFailed("list_templates lists none of the simulator's templates")

    @check(
        "gold", "Carry message.reply_to into the provider's request; let the simulator keep the request in its journal."
    )
    async def test_feature_replies(self) -> None:
        """A reply names the message it answers to the provider."""
        self._declares("replies")
        async with on_stage(self) as stage:
            request = stage.inbound()
            if request is None:
                raise CheckFailed("the simulator makes no inbound message to reply to")
            events = self.hooks.parse_event(ctx=stage.webhook_context(), request=request)
            answered = next(event.provider_id for event in events if isinstance(event, InboundMessage))
            await stage.sent(reply_to=answered)
            if answered not in repr(stage.simulator.journal[-1].fields):
                raise CheckFailed("the provider is not told which message is answered")

    @check("gold", "Pass ctx.idempotency_key to the provider; the same key twice must make one message.")
    async def test_feature_idempotent_send(self) -> None:
        """The same idempotency key twice is one message to the provider."""
        self._declares("idempotent_send")
        async with on_stage(self) as stage:
            message = self.message(stage.simulator)
            first = await stage.send(message, idempotency_key="key_one")
            again = await stage.send(message, idempotency_key="key_one")
            other = await stage.send(message, idempotency_key="key_two")
        if first.provider_ids != again.provider_ids or other.provider_ids == first.provider_ids:
            raise CheckFailed("the same key twice made two messages, or two keys made one")

    @check("gold", "Raise OutsideWindow from price when ctx.silent_since is too long ago, and only then.")
    def test_feature_service_window(self) -> None:
        """Free-form content is refused to whoever has not written for long, and priced for who just did."""
        self._declares("service_window")
        simulator = self.new_simulator()
        account = self.account_of(simulator)
        stage = Stage(self, simulator, account, NoHttp())  # type: ignore[arg-type]
        message, now = self.message(simulator), datetime.now(UTC)
        long_ago = now - timedelta(days=60)
        for past in (long_ago, None):
            ctx = stage.context(now=now, last_inbound_at=past, history_since=long_ago)
            try:
                self.hooks.price(ctx=ctx, message=message)
            except OutsideWindow:
                continue
            raise CheckFailed("price takes free-form content for somebody who has not written for sixty days")
        recent: tuple[tuple[datetime | None, datetime | None], ...]
        a_minute_ago = now - timedelta(minutes=1)
        recent = ((a_minute_ago, long_ago), (long_ago, a_minute_ago), (None, None))
        for last, since in recent:
            try:
                self.hooks.price(ctx=stage.context(now=now, last_inbound_at=last, history_since=since), message=message)
            except OutsideWindow:
                known = "who wrote a minute ago" if last == a_minute_ago else "of whom nobody knows whether they wrote"
                raise CheckFailed(f"price refuses free-form content to somebody {known}") from None

    @check("gold", "Give a receipt for all messages up to a moment its `recipient` and its `watermark`.")
    async def test_feature_watermarks(self) -> None:
        """Some receipt covers everything up to its watermark, and says whose messages."""
        self._declares("watermarks")
        async with on_stage(self) as stage:
            deliveries, ctx = await stage.deliveries(), stage.webhook_context()
            events = [event for one in deliveries for event in self.hooks.parse_event(ctx=ctx, request=one)]
        marked = [event for event in events if isinstance(event, DeliveryUpdate) and event.watermark is not None]
        if not marked:
            raise CheckFailed("no receipt of the simulator's has a watermark")
        if any(event.recipient is None for event in marked):
            raise CheckFailed("a receipt with a watermark does not say whose messages it covers")

    @check(
        "gold", "Let connect_webhook tell the provider the URL, as often as it is asked, and raise where it is refused."
    )
    async def test_webhook_connects(self) -> None:
        """`connect_webhook` tells the simulator the URL, or says what is left to do; a refused account is an error."""
        if "connect_webhook" not in self.channel.hooks:
            raise NotApplicable("not applicable: it has no connect_webhook")
        url = f"https://gateway.example/webhooks/{self.plugin}/{GATEWAY}"
        async with on_stage(self) as stage:
            for _ in range(2):
                made = await self._connected(stage, url)
            if stage.simulator.journal:
                raise CheckFailed("connect_webhook made a message")
            told = isinstance(stage.simulator, WebSimulator) and stage.simulator.webhook_url == url
            if not told and not made.remaining:
                raise CheckFailed("the simulator's webhook_url is not the one given, and nothing is said to remain")
        if not self.speaks_http:
            return
        with FaultServer(Fault(status=401, body=b'{"problem": "the contract kit says so"}')) as server:
            async with on_stage(self, url=server.url) as stage:
                with contextlib.suppress(ChannelError):
                    await self.hooks.connect_webhook(ctx=stage.context(), url=url)
                    raise CheckFailed("connect_webhook reports success to a provider that answers 401")

    async def _connected(self, stage: Stage, url: str) -> WebhookConnection:
        try:
            made = await self.hooks.connect_webhook(ctx=stage.context(), url=url)
        except ChannelError as error:
            raise CheckFailed(f"connect_webhook raised {type(error).__name__} ({error.detail})") from None
        if not isinstance(made, WebhookConnection):
            raise CheckFailed(f"connect_webhook returned a {type(made).__name__}")
        return made

    @check(
        "gold",
        "Let check_account say `ok` when the provider does, `blocked` only for a refused account, else `unknown`.",
    )
    async def test_account_health(self) -> None:
        """`check_account` tells a good account from a refused one, and from a provider in trouble."""
        if "check_account" not in self.channel.hooks:
            raise NotApplicable("not applicable: it has no check_account")
        async with on_stage(self) as stage:
            await self._health(stage, "ok", "its own simulator")
        if not self.speaks_http:
            return
        for status, state in ((401, "blocked"), (500, "unknown"), (429, "unknown")):
            with FaultServer(Fault(status=status, body=b'{"problem": "the contract kit says so"}')) as server:
                async with on_stage(self, url=server.url) as stage:
                    await self._health(stage, state, f"a {status}")

    async def _health(self, stage: Stage, wanted: str, what: str) -> None:
        try:
            found = await self.hooks.check_account(ctx=stage.context())
        except ChannelError as error:
            # The host takes an error that the account is not to blame for as `unknown`.
            if wanted == "unknown":
                return
            raise CheckFailed(f"{what}: check_account raised {type(error).__name__} ({error.detail})") from None
        if not isinstance(found, AccountHealth):
            raise CheckFailed(f"check_account returned a {type(found).__name__}")
        if found.state != wanted:
            raise CheckFailed(f"{what}: check_account says {found.state!r}, not {wanted!r}")
