# ruff: noqa: ASYNC210, ASYNC251, RUF012 - faults on purpose
"""A good channel, and that channel with one fault each. Every fault is named by an entry point of the same name.

`acme_sms` is the plugin that the scaffold writes; `good` adds a handshake and the features that it has not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import random
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

import acme_sms.channel
import aiohttp
import orjson
from acme_sms.channel import INFO, AcmeSms
from acme_sms.errors import understood
from acme_sms.events import parse
from acme_sms.settings import AcmeSmsSettings
from acme_sms.simulator import AcmeSmsSimulator
from pydantic import ConfigDict, SecretStr, field_validator
from waypost.plugin import (
    AccountHealth,
    Address,
    Challenge,
    ChannelEvent,
    ChannelInfo,
    Context,
    DeliveryUpdate,
    InboundMessage,
    LookupResult,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    Quote,
    QuoteLine,
    RateLimited,
    Recognition,
    Rejected,
    SendResult,
    TemplateInfo,
    Text,
    Transient,
    UnknownEvent,
    Verified,
    WebhookConnection,
    WebhookReply,
    WebhookRequest,
    hookimpl,
)
from waypost.plugin.http import HttpReply, post, raise_for_status
from waypost.plugin.http import request as put
from waypost.plugin.signatures import hmac_matches, same, sha256_hex
from waypost_line.channel import LineChannel, event_of
from waypost_line.wire import bind

# ---- the good channel


class GoodSettings(AcmeSmsSettings):
    """Those of the scaffold, and a verify token."""

    verify_token: SecretStr = SecretStr("")


class GoodSimulator(AcmeSmsSimulator):
    """The scaffold's, with a handshake, replies and idempotency."""

    def __init__(self) -> None:
        super().__init__()
        self.verify_token = f"verify-{random.getrandbits(64)}"
        self.by_key: dict[str, str] = {}

    def account_settings(self) -> dict[str, Any]:
        return {**super().account_settings(), "verify_token": self.verify_token}

    def handshake(self, *, token: str | None = None) -> WebhookRequest:
        query = (
            ("hub.mode", "subscribe"),
            ("hub.challenge", "42"),
            ("hub.verify_token", self.verify_token if token is None else token),
        )
        return WebhookRequest(method="GET", url=f"{self.webhook_url}?{urlencode(query)}", query=query)


def shaken(request: WebhookRequest, token: SecretStr):
    expected = token.get_secret_value()
    if not expected or not same(request.parameter("hub.verify_token") or "", expected):
        return Rejected("wrong verify token")
    return Challenge(WebhookReply(200, (request.parameter("hub.challenge") or "").encode()))


class Good(AcmeSms):
    """Keeps the contract; a subclass breaks one part of it."""

    settings: ClassVar[type[AcmeSmsSettings]] = GoodSettings
    world: ClassVar[type[AcmeSmsSimulator]] = GoodSimulator
    facts: ClassVar[dict[str, Any]] = {}
    more_features: ClassVar[frozenset[str]] = frozenset()

    @hookimpl
    def channel_info(self) -> ChannelInfo:
        features = INFO.features | self.more_features
        return replace(INFO, **{"account_settings": self.settings, "features": features, **self.facts})

    @hookimpl
    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult:
        return self.read(await self.deliver(ctx, message))

    async def deliver(self, ctx: Context, message: OutboundMessage) -> HttpReply:
        return await post(
            ctx.http, ctx.account.messages_url, headers=ctx.account.headers, json=self.request(ctx, message)
        )

    def request(self, ctx: Context, message: OutboundMessage) -> dict[str, str]:
        return acme_sms.channel._request(ctx, message)

    def read(self, reply: HttpReply) -> SendResult:
        return SendResult(provider_ids=(understood(reply),))

    @hookimpl
    async def verify_webhook(self, ctx, request):
        if request.method == "GET":
            return shaken(request, getattr(ctx.account, "verify_token", SecretStr("")))
        if ctx.account is None:
            return Rejected("no account")
        return self.verify(ctx.account.webhook_secret.get_secret_value(), request)

    def verify(self, secret: str, request: WebhookRequest):
        given = request.header("x-signature") or ""
        matches = hmac_matches([secret], request.body, given.removeprefix("sha256="))
        return Verified() if matches else Rejected("wrong signature")

    @hookimpl
    def parse_event(self, ctx, request):
        return self.parse(request)

    def parse(self, request: WebhookRequest) -> list[ChannelEvent]:
        return parse(request)

    @hookimpl
    def recognize(self, request: WebhookRequest) -> Recognition | None:
        return Recognition() if b'"message_id"' in request.body else None

    @hookimpl
    def simulator(self):
        return self.world()


good = Good()


def mac(secret: str, body: bytes) -> str:
    return hmac.digest(secret.encode(), body, "sha256").hex()


# ---- loading


class SyncSend(Good):
    @hookimpl
    def send(self, ctx, message):
        return SendResult(provider_ids=("1",))


class WrongApi(Good):
    facts = {"api": "9.0"}


class LacksPrice(Good):
    price = None


class BoastsTemplates(Good):
    more_features = frozenset({"templates"})


class KindWithoutModel(Good):
    facts = {"content_kinds": frozenset({"text", "acme.card"})}


class ChangingInfo(Good):
    @hookimpl
    def channel_info(self) -> ChannelInfo:
        return replace(INFO, title=f"Acme {time.perf_counter_ns()}")


sync_send, wrong_api, lacks_price = SyncSend(), WrongApi(), LacksPrice()
boasts_templates, kind_without_model, changing_info = BoastsTemplates(), KindWithoutModel(), ChangingInfo()


# ---- settings


class OpenSettings(GoodSettings):
    model_config = ConfigDict(extra="ignore")


class PlainKey(GoodSettings):
    api_key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


class InnocentName(GoodSettings):
    api_key: SecretStr = SecretStr("unused")
    login: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.login}"}


class InnocentSimulator(GoodSimulator):
    def account_settings(self) -> dict[str, Any]:
        given = super().account_settings()
        return {**given, "login": given["api_key"]}


class TalkativeRepr(GoodSettings):
    def __repr__(self) -> str:
        return f"settings with {self.api_key.get_secret_value()}"


class TalkativeValidator(GoodSettings):
    @field_validator("api_key")
    @classmethod
    def _form(cls, value: SecretStr) -> SecretStr:
        if "\n" in value.get_secret_value():
            raise ValueError(f"{value.get_secret_value()} is not a key")
        return value


class OpenSettingsChannel(Good):
    settings = OpenSettings


class PlainKeyChannel(Good):
    settings = PlainKey


class InnocentChannel(Good):
    settings, world = InnocentName, InnocentSimulator


class TalkativeReprChannel(Good):
    settings = TalkativeRepr


class TalkativeValidatorChannel(Good):
    settings = TalkativeValidator


open_settings, plain_key, innocent_name = OpenSettingsChannel(), PlainKeyChannel(), InnocentChannel()
talkative_repr, talkative_validator = TalkativeReprChannel(), TalkativeValidatorChannel()


# ---- prices, examples, addresses


class LacksExample(Good):
    facts = {"content_kinds": frozenset({"text", "image"})}


class InvalidExample(Good):
    facts = {"examples": {"text": {"words": "no body"}}}


class HalfUnits(Good):
    @hookimpl
    def price(self, ctx, message):
        return Quote((QuoteLine("segment", 0.5),))


class RefusesToPrice(Good):
    @hookimpl
    def price(self, ctx, message):
        raise Permanent


class RisingPrice(Good):
    def __init__(self) -> None:
        self.asked = 0

    @hookimpl
    def price(self, ctx, message):
        self.asked += 1
        return Quote((QuoteLine("segment", self.asked),))


class PricedByTheClock(Good):
    @hookimpl
    def price(self, ctx, message):
        return Quote((QuoteLine("night" if datetime.now(UTC).hour < 6 else "day"),))


class PricedByRequest(Good):
    @hookimpl
    def price(self, ctx, message):
        with contextlib.suppress(Exception):
            urllib.request.urlopen("http://127.0.0.1:9/prices")
        return Quote((QuoteLine("segment"),))


class PricedWithSession(Good):
    @hookimpl
    def price(self, ctx, message):
        ctx.http.get("http://127.0.0.1:9/prices")
        return Quote((QuoteLine("segment"),))


class MarksMessages(Good):
    @hookimpl
    def price(self, ctx, message):
        message.options["priced"] = True
        return Quote((QuoteLine("segment"),))


class OtherKind(Good):
    @hookimpl
    def parse_address(self, value):
        return Address("fax", super().parse_address(value).value)


class TakesAnything(Good):
    @hookimpl
    def parse_address(self, value):
        return Address("e164", value)


class RaisesValueError(Good):
    @hookimpl
    def parse_address(self, value):
        if not value.startswith("+"):
            raise ValueError("no address")
        return super().parse_address(value)


lacks_example, invalid_example, half_units, refuses_to_price = (
    LacksExample(), InvalidExample(), HalfUnits(), RefusesToPrice()
)  # fmt: skip
rising_price, priced_by_the_clock, priced_by_request = RisingPrice(), PricedByTheClock(), PricedByRequest()
priced_with_session, marks_messages = PricedWithSession(), MarksMessages()
other_kind, takes_anything, raises_value_error = OtherKind(), TakesAnything(), RaisesValueError()


# ---- sending


class LacksSimulator(Good):
    simulator = None


class AnswersDict(Good):
    def read(self, reply):
        return {"id": understood(reply)}


class SendsTwice(Good):
    async def deliver(self, ctx, message):
        await super().deliver(ctx, message)
        return await super().deliver(ctx, message)


class OpensClient(Good):
    """Nothing wrong with it: it opens a client, and still speaks HTTP."""

    @hookimpl
    async def open_account(self, ctx):
        return object()


opens_client = OpensClient()


class CannotSendImages(Good):
    facts = {
        "content_kinds": frozenset({"text", "image"}),
        "examples": {**INFO.examples, "image": {"url": "https://cdn.example/a.jpg"}},
    }


class NoMagic(GoodSimulator):
    magic = {}


class NoMagicChannel(Good):
    world = NoMagic


class TakesAnybody(GoodSimulator):
    def _is_authorized(self, request):
        return True


class TakesAnybodyChannel(Good):
    world = TakesAnybody


class MistakesOptOut(Good):
    def read(self, reply):
        if b"opted_out" in reply.body:
            raise Permanent
        return super().read(reply)


class RemembersTheLast(Good):
    async def deliver(self, ctx, message):
        self.message = message
        await asyncio.sleep(0)
        return await super().deliver(ctx, self.message)


class Sleeps(Good):
    async def deliver(self, ctx, message):
        time.sleep(0.2)
        return await super().deliver(ctx, message)


class Blocks(Good):
    async def deliver(self, ctx, message):
        request = urllib.request.Request(ctx.account.messages_url, b"{}", dict(ctx.account.headers))
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request) as answer:
            return HttpReply(answer.status, {}, answer.read())
        raise OutcomeUnknown


lacks_simulator, answers_dict, sends_twice, cannot_send_images = (
    LacksSimulator(), AnswersDict(), SendsTwice(), CannotSendImages()
)  # fmt: skip
no_magic, takes_anybody, mistakes_opt_out = NoMagicChannel(), TakesAnybodyChannel(), MistakesOptOut()
remembers_the_last, sleeps, blocks = RemembersTheLast(), Sleeps(), Blocks()


# ---- faults


class Mistakes(Good):
    """Raises something of its own for one status."""

    status = 0
    error: BaseException | type[BaseException] = Permanent

    def read(self, reply):
        if reply.status == self.status:
            raise self.error
        return super().read(reply)


class BadRequestUnknown(Mistakes):
    status, error = 400, OutcomeUnknown


class UnauthorizedPermanent(Mistakes):
    status, error = 401, Permanent


class ForbiddenTransient(Mistakes):
    status, error = 403, Transient


class LimitTransient(Mistakes):
    status, error = 429, Transient


class LimitForgetsPause(Mistakes):
    status, error = 429, RateLimited(retry_after=60)


class ServerErrorTransient(Mistakes):
    status, error = 500, Transient


class BadGatewayUndeclared(Mistakes):
    status, error = 502, RuntimeError("bad gateway")


class UnavailablePermanent(Mistakes):
    status, error = 503, Permanent


class RetriesServerErrors(Good):
    async def deliver(self, ctx, message):
        reply = await super().deliver(ctx, message)
        return reply if reply.status < 500 else await super().deliver(ctx, message)


class RetriesSilence(Good):
    async def deliver(self, ctx, message):
        with contextlib.suppress(OutcomeUnknown):
            return await super().deliver(ctx, message)
        return await super().deliver(ctx, message)


class SilenceTransient(Good):
    async def deliver(self, ctx, message):
        try:
            return await super().deliver(ctx, message)
        except OutcomeUnknown as error:
            raise Transient from error


class BelievesGarbage(Good):
    def read(self, reply):
        raise_for_status(reply)
        return SendResult(provider_ids=(str(reply.json_object().get("id", "")),))


class RefusalUnknown(Good):
    async def deliver(self, ctx, message):
        try:
            return await super().deliver(ctx, message)
        except Transient as error:
            raise OutcomeUnknown from error


class QuotesTheProvider(Good):
    def read(self, reply):
        if not reply.ok:
            raise Permanent(str(reply.json_object().get("error")), http_status=reply.status)
        return super().read(reply)


class LogsRequests(Good):
    async def deliver(self, ctx, message):
        logging.getLogger("acme").debug("sending %s", self.request(ctx, message))
        return await super().deliver(ctx, message)


class LogsHeaders(Good):
    async def deliver(self, ctx, message):
        ctx.log.info("sending", headers=ctx.account.headers)
        return await super().deliver(ctx, message)


class SwallowsCancellation(Good):
    async def deliver(self, ctx, message):
        try:
            return await super().deliver(ctx, message)
        except BaseException as error:
            raise OutcomeUnknown from error


class OwnSession(Good):
    async def deliver(self, ctx, message):
        async with aiohttp.ClientSession() as own:
            return await super().deliver(replace(ctx, http=own), message)


bad_request_unknown, unauthorized_permanent, forbidden_transient = (
    BadRequestUnknown(), UnauthorizedPermanent(), ForbiddenTransient()
)  # fmt: skip
limit_transient, limit_forgets_pause, server_error_transient = (
    LimitTransient(), LimitForgetsPause(), ServerErrorTransient()
)  # fmt: skip
bad_gateway_undeclared, unavailable_permanent = BadGatewayUndeclared(), UnavailablePermanent()
retries_server_errors, retries_silence, silence_transient = RetriesServerErrors(), RetriesSilence(), SilenceTransient()
believes_garbage, refusal_unknown, quotes_the_provider = BelievesGarbage(), RefusalUnknown(), QuotesTheProvider()
logs_requests, logs_headers = LogsRequests(), LogsHeaders()
swallows_cancellation, own_session = SwallowsCancellation(), OwnSession()


# ---- signatures


class SignsParsedBody(Good):
    def verify(self, secret, request):
        body = json.dumps(json.loads(request.body or b"{}"), indent=1).encode()
        return super().verify(secret, replace(request, body=body))


class AllowsUnsigned(Good):
    def verify(self, secret, request):
        return super().verify(secret, request) if request.header("x-signature") is not None else Verified()


class ChecksTheFormOnly(Good):
    """Ignores the body: any request with this account's own header from before is taken."""

    def verify(self, secret, request):
        given = (request.header("x-signature") or "").removeprefix("sha256=")
        return Verified() if secret and len(given) == 64 and given.isalnum() and given.strip("0") else Rejected("form")


class KnownToAll(GoodSimulator):
    secrets: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.secrets.append(self.webhook_secret)


class AnybodysKey(Good):
    """Takes the key of any account that there ever was."""

    world = KnownToAll

    def verify(self, secret, request):
        given = (request.header("x-signature") or "").removeprefix("sha256=")
        return Verified() if hmac_matches(KnownToAll.secrets, request.body, given) else Rejected("wrong signature")


class RaisesOnJunk(Good):
    def verify(self, secret, request):
        given = (request.header("x-signature") or "").removeprefix("sha256=")
        same = hmac.compare_digest(bytes.fromhex(given), bytes.fromhex(mac(secret, request.body)))
        return Verified() if given and secret and same else Rejected("wrong signature")


class TakesEmpty(Good):
    def verify(self, secret, request):
        given = (request.header("x-signature") or "missing").removeprefix("sha256=").strip()
        if request.header("x-signature") is not None and not request.header("x-signature").strip():
            given = ""
        expected = mac(secret, request.body)[: len(given)]
        return Verified() if secret and expected == given else Rejected("wrong signature")


class RaisesOnHuge(Good):
    def verify(self, secret, request):
        if len(request.header("x-signature") or "") > 4096:
            raise ValueError("the signature is too long")
        return super().verify(secret, request)


class ComparesText(Good):
    def verify(self, secret, request):
        given = (request.header("x-signature") or "").removeprefix("sha256=")
        same = hmac.compare_digest(given, mac(secret, request.body))
        return Verified() if secret and same else Rejected("wrong signature")


class AllowsWithoutSecret(Good):
    def verify(self, secret, request):
        return super().verify(secret, request) if secret else Verified()


class NeverShakesHands(Good):
    @hookimpl
    async def verify_webhook(self, ctx, request):
        if request.method == "GET":
            return Rejected("only POST")
        return await super().verify_webhook(ctx, request)


class ShakesAnyHand(Good):
    @hookimpl
    async def verify_webhook(self, ctx, request):
        if request.method == "GET":
            return shaken(request, SecretStr(request.parameter("hub.verify_token") or "x"))
        return await super().verify_webhook(ctx, request)


signs_parsed_body, allows_unsigned, checks_the_form_only = SignsParsedBody(), AllowsUnsigned(), ChecksTheFormOnly()
anybodys_key, raises_on_junk, takes_empty, raises_on_huge = AnybodysKey(), RaisesOnJunk(), TakesEmpty(), RaisesOnHuge()
compares_text, allows_without_secret = ComparesText(), AllowsWithoutSecret()
never_shakes_hands, shakes_any_hand = NeverShakesHands(), ShakesAnyHand()


# ---- parsing


class Altered(Good):
    """Alters each event that the good parser gives."""

    def alter(self, event: ChannelEvent, place: int) -> ChannelEvent | None:
        return event

    def parse(self, request):
        altered = (self.alter(event, place) for place, event in enumerate(super().parse(request)))
        return [event for event in altered if event is not None]


class LosesText(Altered):
    def alter(self, event, place):
        return replace(event, content=Text(body="…")) if isinstance(event, InboundMessage) else event


class RandomIds(Altered):
    def alter(self, event, place):
        return replace(event, event_id=f"{random.random()}")


class OneIdForAll(Altered):
    def alter(self, event, place):
        known = isinstance(event, DeliveryUpdate)
        return replace(event, event_id=event.provider_id) if known else event


class IdsByPlace(Altered):
    def alter(self, event, place):
        return replace(event, event_id=f"{event.event_id}.{place}")


class DropsUnknown(Altered):
    def alter(self, event, place):
        return None if isinstance(event, UnknownEvent) else event


class ForgetsCorrelation(Altered):
    def alter(self, event, place):
        return replace(event, correlation=None) if isinstance(event, DeliveryUpdate) else event


class ForgetsMessage(Altered):
    def alter(self, event, place):
        both = {"provider_id": None, "correlation": None}
        return replace(event, **both) if isinstance(event, DeliveryUpdate) else event


class FirstOfBatch(Good):
    def parse(self, request):
        return super().parse(request)[:1]


class ReadsStrictly(Good):
    def parse(self, request):
        try:
            orjson.loads(request.body)
        except ValueError:
            return [UnknownEvent(event_id=sha256_hex(request.body), raw={}, reason="not JSON")]
        return super().parse(request)


class RaisesOnUnknown(Good):
    def parse(self, request):
        return [event for piece in json.loads(request.body)["events"] for event in [self.one(piece, request)]]

    def one(self, piece, request):
        return parse(replace(request, body=json.dumps({"events": [piece]}).encode()))[0]


class TrustsShapes(Good):
    def parse(self, request):
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(request.body)
            if isinstance(body, dict) and isinstance(body.get("events"), list) and body["events"]:
                Counter(piece["type"].lower() for piece in body["events"])
        return super().parse(request)


class NeverProvesReading(Good):
    facts = {"last_receipt": "read"}


class MistakesUndelivered(Altered):
    def alter(self, event, place):
        bad = isinstance(event, DeliveryUpdate) and event.status in ("failed", "undelivered")
        return replace(event, status="delivered") if bad else event


class RecognizesAll(Good):
    @hookimpl
    def recognize(self, request):
        return Recognition()


loses_text, random_ids, one_id_for_all, ids_by_place = LosesText(), RandomIds(), OneIdForAll(), IdsByPlace()
drops_unknown, forgets_correlation, forgets_message = DropsUnknown(), ForgetsCorrelation(), ForgetsMessage()
first_of_batch, reads_strictly = FirstOfBatch(), ReadsStrictly()
raises_on_unknown, trusts_shapes = RaisesOnUnknown(), TrustsShapes()
never_proves_reading, mistakes_undelivered, recognizes_all = (
    NeverProvesReading(), MistakesUndelivered(), RecognizesAll()
)  # fmt: skip


# ---- listening: the example's channel that is not HTTP


class Listens(LineChannel):
    """Keeps the contract; a subclass breaks how it hears."""

    @hookimpl
    async def listen(self, ctx, emit):
        account = ctx.account
        connection = await bind(account.host, account.port, "receive", account.token.get_secret_value())
        try:
            while True:
                said = await connection.hear()
                await self.take(connection, said, emit)
        finally:
            await connection.close()

    async def take(self, connection, said, emit):
        await emit(self.event(said))
        await connection.say("ACK", said[1])

    def event(self, said):
        return event_of(said)


class Deaf(Listens):
    async def take(self, connection, said, emit):
        await connection.say("ACK", said[1])


class HearsTheWrongWords(Listens):
    def event(self, said):
        return replace(event_of(said), content=Text(body="…"))


class NeverLetsGo(Listens):
    @hookimpl
    async def listen(self, ctx, emit):
        until = time.monotonic() + 8
        while time.monotonic() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(super().listen(ctx, emit), until - time.monotonic())


class ThanksFirst(Listens):
    async def take(self, connection, said, emit):
        await connection.say("ACK", said[1])
        # The provider has heard it for sure.
        await asyncio.sleep(0.1)
        await emit(self.event(said))


class Shrugs(Listens):
    async def take(self, connection, said, emit):
        with contextlib.suppress(Exception):
            await super().take(connection, said, emit)


class NewIdEachTime(Listens):
    def event(self, said):
        return replace(event_of(said), event_id=f"{random.random()}")


listens, deaf, hears_the_wrong_words, never_lets_go = Listens(), Deaf(), HearsTheWrongWords(), NeverLetsGo()
thanks_first, shrugs, new_id_each_time = ThanksFirst(), Shrugs(), NewIdEachTime()


# ---- features


class UncoveredFeature(Good):
    more_features = frozenset({"carrier_pigeon"})


class InventsMessages(Good):
    @hookimpl
    async def lookup(self, ctx, attempt):
        return LookupResult(found=True, provider_ids=("msg-1",))


class FindsNothing(Good):
    @hookimpl
    async def lookup(self, ctx, attempt):
        return LookupResult(found=False)


class ListsNames(Good):
    more_features = frozenset({"templates"})

    @hookimpl
    async def list_templates(self, ctx):
        return [{"name": "hello"}]


class ListsTemplates(Good):
    more_features = frozenset({"templates"})

    @hookimpl
    async def list_templates(self, ctx) -> Sequence[TemplateInfo]:
        return [TemplateInfo(template_id="1", name="hello")]


class ForgetsReplyTo(Good):
    more_features = frozenset({"replies"})


class Replies(Good):
    more_features = frozenset({"replies"})

    def request(self, ctx, message):
        request = super().request(ctx, message)
        return {**request, "in_reply_to": message.reply_to} if message.reply_to else request


class IgnoresKey(Good):
    more_features = frozenset({"idempotent_send"})
    facts = {"idempotent_for": 3600}


class KeyedSimulator(GoodSimulator):
    async def _play(self, request, body):
        answer = await super()._play(request, body)
        known = self.by_key.setdefault(body["key"], self.journal[-1].provider_id or "")
        return aiohttp.web.json_response({"id": known}, status=201) if answer.status == 201 else answer


class Keyed(IgnoresKey):
    world = KeyedSimulator

    def request(self, ctx, message):
        # Every send of the kit's has a key of its own but those that repeat one on purpose.
        own = ctx.idempotency_key.startswith("key_")
        return {**super().request(ctx, message), "key": ctx.idempotency_key if own else f"{time.perf_counter_ns()}"}


class IgnoresWindow(Good):
    more_features = frozenset({"service_window"})


class KeepsWindow(IgnoresWindow):
    @hookimpl
    def price(self, ctx, message):
        self.hold(ctx.silent_since, ctx.now)
        return super().price(ctx, message)

    def hold(self, silent_since, now):
        if silent_since is not None and now - silent_since > timedelta(hours=24):
            raise OutsideWindow


class GuessesWindow(KeepsWindow):
    @hookimpl
    def price(self, ctx, message):
        self.hold(ctx.last_inbound_at or ctx.history_since, ctx.now)
        return super().price(ctx, message)


class NoWatermarks(Good):
    more_features = frozenset({"watermarks"})


class Watermarks(Altered):
    more_features = frozenset({"watermarks"})

    def alter(self, event, place):
        if not isinstance(event, DeliveryUpdate) or event.status != "delivered":
            return event
        return replace(event, watermark=event.occurred_at, recipient=Address("e164", "+15550100000"))


class BlamesAccount(Good):
    @hookimpl
    async def check_account(self, ctx):
        reply = await post(ctx.http, ctx.account.account_url.replace("/account", "/messages"), json={})
        return AccountHealth(state="ok" if reply.ok else "blocked")


class NeverBlamesAccount(Good):
    @hookimpl
    async def check_account(self, ctx):
        return AccountHealth(state="ok")


class HookedSimulator(GoodSimulator):
    """The scaffold's, whose webhooks go where it is told by a request."""

    def routes(self):
        return [*super().routes(), aiohttp.web.put("/v1/webhook", self._set_webhook)]

    async def _set_webhook(self, request):
        if not self._is_authorized(request):
            return aiohttp.web.json_response({"error": {"code": "unauthorized"}}, status=401)
        self.webhook_url = (await request.json())["url"]
        return aiohttp.web.json_response({})


class Connects(Good):
    world = HookedSimulator

    @hookimpl
    async def connect_webhook(self, ctx, url):
        raise_for_status(await self.tell(ctx, url))
        return WebhookConnection()

    async def tell(self, ctx, url):
        where = ctx.account.account_url.replace("/account", "/webhook")
        return await put(ctx.http, "PUT", where, headers=ctx.account.headers, json={"url": url})


class ConnectsNothing(Connects):
    async def tell(self, ctx, url):
        return HttpReply(200, {}, b"{}")


class ConnectsRegardless(Connects):
    @hookimpl
    async def connect_webhook(self, ctx, url):
        await self.tell(ctx, url)
        return WebhookConnection()


class ConnectsWithoutAWord(Connects):
    @hookimpl
    async def connect_webhook(self, ctx, url):
        raise_for_status(await self.tell(ctx, url))


uncovered_feature, invents_messages, finds_nothing = UncoveredFeature(), InventsMessages(), FindsNothing()
lists_names, lists_templates, forgets_reply_to, replies = ListsNames(), ListsTemplates(), ForgetsReplyTo(), Replies()
ignores_key, keyed = IgnoresKey(), Keyed()
ignores_window, keeps_window, guesses_window = IgnoresWindow(), KeepsWindow(), GuessesWindow()
no_watermarks, watermarks = NoWatermarks(), Watermarks()
blames_account, never_blames_account = BlamesAccount(), NeverBlamesAccount()
connects, connects_nothing, connects_regardless = Connects(), ConnectsNothing(), ConnectsRegardless()
connects_without_a_word = ConnectsWithoutAWord()
