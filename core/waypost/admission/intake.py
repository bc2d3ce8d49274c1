"""From a request to a candidate: validate, route and price. Pure but for one look at the recipient's history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from waypost.access import Principal
from waypost.admission.candidate import Candidate
from waypost.admission.request import FallbackRequest, SendRequest
from waypost.admission.ways import Way, Ways
from waypost.clock import SECOND, Clock
from waypost.host.accounts import Accounts
from waypost.host.dispatch import PluginFaultError
from waypost.ids import new_id
from waypost.lifecycle.settlement import PricedLine
from waypost.log import described, logger
from waypost.money import MOST_SPENDABLE
from waypost.plugin.content import Content, Text
from waypost.plugin.errors import InvalidRecipient, Permanent
from waypost.plugin.types import Address, Context, OutboundMessage
from waypost.refusals import (
    ChannelConfigNotFound,
    InsufficientCredit,
    Refusal,
    Unavailable,
    ValidationFailed,
)
from waypost.routing import Directory, destination_of
from waypost.store import admissions
from waypost.store.inbound import HIDDEN, SINCE
from waypost.store.messages import Message
from waypost.store.steps import Choice, NewStep, dump_choices

#: (gateway id, address) → when it last wrote, and (gateway id, SINCE) → since when the gateway receives; for the
#: gateways whose plugins ask for it.
History = Mapping[tuple[str, str], int]
#: The names of fields that may be told back; any other is the partner's own text.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

_LOG = logger()


#: How long the context of one pricing may serve the next, in microseconds.
FRESH = SECOND // 10

_NOT_YOURS = "from: you may not send from this one; use one of your own, or leave it out"
_NO_EXTRAS = '{"options":{},"reply_to":null,"validity":null}'


@dataclass(slots=True)
class _Asked:
    """A request and what it is judged by."""

    caller: Principal
    request: SendRequest
    directory: Directory
    history: History
    now: int


@dataclass(slots=True)
class _Priced:
    """One leg, routed and priced."""

    channel: str
    address: Address
    content: Content
    choices: list[Choice]

    @property
    def hold(self) -> int:
        choices = self.choices
        return choices[0].total if len(choices) == 1 else max(choice.total for choice in choices)


class Intake:
    """Prepares candidates from requests, by what operators decided and what plugins say."""

    def __init__(self, accounts: Accounts, clock: Clock, default_validity: int) -> None:
        self._accounts = accounts
        self.ways = Ways(accounts)
        self._clock = clock
        self._default_validity = default_validity

    def prepare(self, caller: Principal, request: SendRequest, directory: Directory, history: History) -> Candidate:
        """Make the candidate. Raises a `Refusal` for everything that must not cost credit."""
        now = self._clock.now()
        asked = _Asked(caller, request, directory, history, now)
        legs = [self._leg(asked, request.channel, request.to, request.sender, request.content)]
        for item in request.fallback:
            content = item.content if item.content is not None else request.content
            legs.append(self._leg(asked, item.channel, item.to or request.to, item.sender, content))
        return self._candidate(caller, request, legs, now)

    def wants_history(self, caller: Principal, request: SendRequest, directory: Directory) -> bool:
        """Whether a plugin on the way asks when the recipient last wrote. Raises a `Refusal` where there is no way."""
        channels = {request.channel, *(leg.channel for leg in request.fallback)}
        return any(self.ways.of(caller.app_id, channel, caller.mode, directory).windowed for channel in channels)

    def _candidate(self, caller: Principal, request: SendRequest, legs: Sequence[_Priced], now: int) -> Candidate:
        message_id = new_id("msg")
        deadline = now + (request.validity or self._default_validity) * SECOND
        holds = [leg.hold for leg in legs]
        if sum(holds) > MOST_SPENDABLE:  # larger numbers than can be stored are among these
            raise InsufficientCredit
        if caller.mode == "test":
            holds = [0] * len(legs)
        first = legs[0]
        message = Message(
            id=message_id,
            org_id=caller.org_id,
            app_id=caller.app_id,
            key_id=caller.key_id,
            channel=first.channel,
            status="QUEUED",
            recipient=request.to,
            addresses=orjson.dumps([[first.address.kind, first.address.value]]).decode(),
            sender=request.sender,
            content=_dump(first.content),
            options=_extras(request),
            currency=caller.currency,
            held=sum(holds),
            mode=caller.mode,
            request_id=request.request_id,
            created_at=now,
            updated_at=now,
            deadline=deadline,
        )
        key, fingerprint = request.stored_key(caller.mode), request.fingerprint
        rows = [admissions.first_row(message, _step(first, holds[0]), key, fingerprint)]
        for number, fallback in enumerate(request.fallback, 1):
            step = _fallback_step(legs[number], holds[number], fallback)
            rows.append(admissions.further_row(message, number + 1, step))
        return Candidate(message, first.choices[0].gateway_id, rows, key, fingerprint)

    # ---- one leg

    def _leg(self, asked: _Asked, channel: str, to: str, sender: str | None, fields: Mapping[str, Any]) -> _Priced:
        request = asked.request
        routed = self.ways.of(asked.caller.app_id, channel, asked.caller.mode, asked.directory)
        try:
            address = routed.parser.parse_address(to)
        except InvalidRecipient as error:
            raise ValidationFailed(f"to: {error.detail}") from error
        except PluginFaultError as error:
            raise _out_of_order(error) from error
        destination = destination_of(address)
        ways = routed.to(destination)
        content = _content(ways, fields)
        choices: list[Choice] = []
        problems: list[Refusal] = []
        for way in ways:
            if sender is not None and self.ways.is_anothers(way, asked.caller.app_id, sender):
                problems.append(ValidationFailed(_NOT_YOURS))
                continue
            chosen = sender or way.sender
            message = OutboundMessage(
                channel=channel,
                recipient=(address,),
                content=content,
                sender=chosen,
                reply_to=request.reply_to,
                validity=request.validity,
                options=request.options,
            )
            priced = self._price(way, message, asked, destination)
            if isinstance(priced, Refusal):
                problems.append(priced)
            else:
                choices.append(Choice(way.opened.gateway.id, chosen, priced))
        if not choices:
            raise problems[0]
        return _Priced(channel, address, content, choices)

    def _price(
        self, way: Way, message: OutboundMessage, asked: _Asked, destination: str
    ) -> tuple[PricedLine, ...] | Refusal:
        tariff = way.tariff
        if tariff is None:
            return ChannelConfigNotFound("The gateway has no rate card; ask the operator to add one.")
        currency, now = asked.caller.currency, asked.now
        tariff.turn_to(currency, destination, now)
        ctx = self._context(way, message.recipient[0], asked.history, now)
        try:
            quote = way.opened.plugin.price(ctx, message)
            if quote.destination and quote.destination.lower() != destination:
                # What it asked of the card so far was not of the destination that it names.
                tariff.turn_to(currency, quote.destination.lower(), now)
                quote = way.opened.plugin.price(ctx, message)
        except Permanent as error:
            return ValidationFailed(f"{error.code}: {error.detail}")
        except PluginFaultError as error:
            return _out_of_order(error)
        priced = tariff.price(quote)
        if isinstance(priced, str):
            return ChannelConfigNotFound(
                f"There is no price in {currency} for {priced} to this destination; ask the operator to add a rate."
            )
        return priced

    def _context(self, way: Way, address: Address, history: History, now: int) -> Context:
        """What the plugin gets while it prices; made anew only where it says something new."""
        if way.windowed:
            last, since = _known(way, address, history)
            return self._accounts.context(way.opened, last_inbound_at=last, history_since=since, rates=way.tariff)
        if way.ctx is None or not 0 <= now - way.ctx_at < FRESH:
            way.ctx, way.ctx_at = self._accounts.context(way.opened, rates=way.tariff), now
        return way.ctx


def _known(way: Way, address: Address, history: History) -> tuple[int | None, int | None]:
    """When somebody last wrote, and since when all that they wrote is on record."""
    gateway_id = way.opened.gateway.id
    last, since, hidden = (history.get((gateway_id, name)) for name in (address.value, SINCE, HIDDEN))
    if hidden is not None and since is not None and address.kind == way.opened.plugin.info.address_kinds[0]:
        since = max(since, hidden)  # whoever wrote then without this kind of address may have been this very person
    return last, since


def _step(leg: _Priced, hold: int) -> NewStep:
    return NewStep(leg.channel, leg.choices[0].gateway_id, dump_choices(leg.choices), hold)


def _fallback_step(leg: _Priced, hold: int, fallback: FallbackRequest) -> NewStep:
    step = _step(leg, hold)
    address = [leg.address.kind, leg.address.value]
    step.content = orjson.dumps({"content": _dump(leg.content), "address": address}).decode()
    step.until = fallback.until
    step.after = fallback.after * SECOND if fallback.after is not None else None
    return step


def _extras(request: SendRequest) -> str:
    if not request.options and request.reply_to is None and request.validity is None:
        return _NO_EXTRAS
    extras = {"options": dict(request.options), "reply_to": request.reply_to, "validity": request.validity}
    return orjson.dumps(extras).decode()


def _content(ways: Sequence[Way], fields: Mapping[str, Any]) -> Content:
    """Validate content by the model of the first plugin that can send its kind."""
    kind = str(fields.get("kind", ""))
    for way in ways:
        model = way.opened.plugin.info.content_model(kind)
        if model is not None:
            return _validated(model, fields)
    kinds = sorted({known for way in ways for known in way.opened.plugin.info.content_kinds})
    raise ValidationFailed(f"This channel cannot send this kind of content; it sends: {', '.join(kinds)}.")


def _validated(model: type[BaseModel], fields: Mapping[str, Any]) -> Content:
    try:
        content = model.model_validate(fields)
    except ValidationError as error:
        raise ValidationFailed(describe(error)) from None
    assert isinstance(content, Content)
    return content


def describe(error: ValidationError) -> str:
    """Name the first wrong field and what is wrong with it, without repeating what was sent."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(_place(part) for part in first["loc"] if not _is_union_branch(part)) or "request"
    return f"{where}: {first['msg']}"


def _place(part: int | str) -> str:
    return str(part) if isinstance(part, int) or _FIELD.fullmatch(part) else "…"


def _is_union_branch(part: int | str) -> bool:
    """Pydantic names the branch of a union after its type, which says nothing to a partner."""
    return part in ("constrained-str", "dict[str,any]")


def _dump(content: Content) -> str:
    if type(content) is Text:  # nearly every message, and all its fields are plain values
        return orjson.dumps(content.__dict__).decode()
    return content.model_dump_json(exclude_defaults=False, exclude_none=True)


def _out_of_order(error: PluginFaultError) -> Unavailable:
    """What a partner is told of a plugin's fault; its author finds what and where in the log."""
    _LOG.error(
        "plugin.failed",
        plugin=error.plugin,
        hook=error.hook,
        problem=error.problem,
        cause=described(error.__cause__),
    )
    return Unavailable("The channel is out of order; try again later.")
