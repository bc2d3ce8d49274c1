"""From a request to a candidate: validate, route and price. Pure but for one look at the recipient's history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from waypost.access import Principal
from waypost.admission.candidate import Candidate
from waypost.admission.request import FallbackRequest, SendRequest
from waypost.clock import SECOND, Clock
from waypost.credit import Move, move
from waypost.host.accounts import Accounts, CredentialsUnusableError, OpenAccount
from waypost.host.dispatch import PluginFaultError
from waypost.ids import new_id
from waypost.lifecycle.evidence import Evidence, core_key
from waypost.plugin.content import Content
from waypost.plugin.errors import InvalidRecipient, Permanent
from waypost.plugin.types import Address, Micros, OutboundMessage
from waypost.rates import RateCard
from waypost.refusals import (
    ChannelConfigNotFound,
    ChannelCredentialsNotFound,
    Refusal,
    Unavailable,
    ValidationFailed,
)
from waypost.routing import Directory
from waypost.store.gateways import Gateway
from waypost.store.inbound import SINCE
from waypost.store.messages import Message
from waypost.store.steps import Choice, Step, dump_choices

#: (gateway id, address) → when it last wrote, and (gateway id, SINCE) → since when the gateway receives; for the
#: gateways whose plugins ask for it.
History = Mapping[tuple[str, str], int]
#: The names of fields that may be told back; any other is the partner's own text.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
#: A plugin with this feature gets the recipient's last inbound message in its context.
WINDOW_FEATURE = "service_window"


@dataclass(frozen=True, slots=True)
class _Priced:
    """One leg, routed and priced."""

    channel: str
    address: Address
    content: Content
    choices: tuple[Choice, ...]

    @property
    def hold(self) -> int:
        return max(choice.total for choice in self.choices)


class Intake:
    """Prepares candidates from requests, by what operators decided and what plugins say."""

    def __init__(self, accounts: Accounts, clock: Clock, default_validity: int) -> None:
        self._accounts = accounts
        self._clock = clock
        self._default_validity = default_validity

    def prepare(self, caller: Principal, request: SendRequest, directory: Directory, history: History) -> Candidate:
        """Make the candidate. Raises a `Refusal` for everything that must not cost credit."""
        now = self._clock.now()
        legs = [self._leg(caller, request, _Leg.first(request), directory, history, now)]
        legs.extend(
            self._leg(caller, request, _Leg.later(request, item), directory, history, now) for item in request.fallback
        )
        return self._candidate(caller, request, legs, now)

    def _candidate(self, caller: Principal, request: SendRequest, legs: Sequence[_Priced], now: int) -> Candidate:
        message_id = new_id("msg")
        deadline = now + (request.validity or self._default_validity) * SECOND
        free = caller.mode == "test"
        holds = [0 if free else leg.hold for leg in legs]
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
            options=orjson.dumps(
                {"options": dict(request.options), "reply_to": request.reply_to, "validity": request.validity}
            ).decode(),
            currency=caller.currency,
            held=sum(holds),
            mode=caller.mode,
            request_id=request.request_id,
            created_at=now,
            updated_at=now,
            deadline=deadline,
        )
        steps = tuple(
            self._step(message, number, leg, hold, request.fallback[number - 2] if number > 1 else None)
            for number, (leg, hold) in enumerate(zip(legs, holds, strict=True), 1)
        )
        moves: tuple[Move, ...] = tuple(
            move("hold", caller.org_id, step.held, now, message_id=message_id, step_no=step.step_no)
            for step in steps
            if step.held
        )
        queued = Evidence(
            message_id=message_id,
            key=core_key(1, 0, "queued"),
            step_no=1,
            attempt=0,
            kind="queued",
            source="core",
            gateway_id=steps[0].gateway_id,
            at=now,
            data={"channel": first.channel, "gateways": [choice.gateway_id for choice in first.choices]},
        )
        return Candidate(
            principal=caller,
            message=message,
            steps=steps,
            holds=moves,
            first_event=queued,
            idempotency_key=request.idempotency_key,
            fingerprint=request.fingerprint,
        )

    @staticmethod
    def _step(message: Message, number: int, leg: _Priced, hold: int, fallback: FallbackRequest | None) -> Step:
        content = None
        if number > 1:
            address = [leg.address.kind, leg.address.value]
            content = orjson.dumps({"content": _dump(leg.content), "address": address}).decode()
        return Step(
            message_id=message.id,
            step_no=number,
            app_id=message.app_id,
            org_id=message.org_id,
            channel=leg.channel,
            state="queued" if number == 1 else "waiting",
            status="QUEUED",
            gateway_id=leg.choices[0].gateway_id,
            choices=dump_choices(leg.choices),
            due_at=message.created_at,
            wake_at=message.deadline if number == 1 else None,
            deadline=message.deadline,
            held=hold,
            content=content,
            until=fallback.until if fallback else "sent",
            after=fallback.after * SECOND if fallback and fallback.after is not None else None,
        )

    # ---- one leg

    def _leg(
        self,
        caller: Principal,
        request: SendRequest,
        leg: _Leg,
        directory: Directory,
        history: History,
        now: int,
    ) -> _Priced:
        address = self._address(caller, leg, directory)
        destination = address.value.lstrip("+")
        route = directory.route(caller.app_id, leg.channel, destination)
        gateways = directory.route_gateways(route, caller.mode) if route else []
        if route is None or not gateways:
            raise ChannelConfigNotFound
        opened = self._usable(gateways, directory)
        content = _content(opened, leg.content)
        choices: list[Choice] = []
        problems: list[Refusal] = []
        for account in opened:
            sender = leg.sender or route.sender or (account.gateway.senders[0] if account.gateway.senders else None)
            message = OutboundMessage(
                channel=leg.channel,
                recipient=(address,),
                content=content,
                sender=sender,
                reply_to=request.reply_to,
                validity=request.validity,
                options=request.options,
            )
            priced = self._price(account, message, caller, destination, directory, history, now)
            if isinstance(priced, Refusal):
                problems.append(priced)
            else:
                choices.append(Choice(account.gateway.id, sender, priced))
        if not choices:
            raise problems[0]
        return _Priced(leg.channel, address, content, tuple(choices))

    def _address(self, caller: Principal, leg: _Leg, directory: Directory) -> Address:
        """The recipient in normal form, by the first plugin that serves this channel for the app."""
        routed = False
        for route in directory.routes.get((caller.app_id, leg.channel), ()):
            for gateway in directory.route_gateways(route, caller.mode):
                routed = True
                plugin = self._accounts.plugin(gateway)
                if plugin is None:
                    continue
                try:
                    return plugin.parse_address(leg.to)
                except InvalidRecipient as error:
                    raise ValidationFailed(f"to: {error.detail}") from error
                except PluginFaultError as error:
                    raise Unavailable("The channel is out of order; try again later.") from error
        if routed:
            raise Unavailable("The channel is not served just now; try again later.", retry_after=30)
        served = self._accounts.channels
        if leg.channel not in served:
            raise ValidationFailed(f"channel: this deployment serves {', '.join(sorted(served)) or 'none'}")
        raise ChannelConfigNotFound

    def _usable(self, gateways: Sequence[Gateway], directory: Directory) -> list[OpenAccount]:
        opened: list[OpenAccount] = []
        problem: CredentialsUnusableError | None = None
        for gateway in gateways:
            app = directory.provider_apps.get(gateway.provider_app_id or "")
            try:
                opened.append(self._accounts.account(gateway, app))
            except CredentialsUnusableError as error:
                problem = error
        if not opened:
            raise ChannelCredentialsNotFound from problem
        return opened

    def _price(
        self,
        account: OpenAccount,
        message: OutboundMessage,
        caller: Principal,
        destination: str,
        directory: Directory,
        history: History,
        now: int,
    ) -> Any:
        gateway = account.gateway
        card = directory.cards.get(gateway.id)
        if card is None:
            return ChannelConfigNotFound("The gateway has no rate card; ask the operator to add one.")
        windowed = WINDOW_FEATURE in account.plugin.info.features
        ctx = self._accounts.context(
            account,
            last_inbound_at=history.get((gateway.id, message.recipient[0].value)) if windowed else None,
            history_since=history.get((gateway.id, SINCE)) if windowed else None,
            rates=partial(_unit_price, card, caller.currency, destination, now),
        )
        try:
            quote = account.plugin.price(ctx, message)
        except Permanent as error:
            return ValidationFailed(f"{error.code}: {error.detail}")
        except PluginFaultError:
            return Unavailable("The channel is out of order; try again later.")
        priced = card.price(quote.lines, caller.currency, quote.destination or destination, now)
        if isinstance(priced, str):
            return ChannelConfigNotFound(
                f"There is no price in {caller.currency} for {priced} to this destination;"
                " ask the operator to add a rate."
            )
        return priced


@dataclass(frozen=True, slots=True)
class _Leg:
    """What one step asks for."""

    channel: str
    to: str
    sender: str | None
    content: Mapping[str, Any]

    @classmethod
    def first(cls, request: SendRequest) -> _Leg:
        return cls(request.channel, request.to, request.sender, request.content)

    @classmethod
    def later(cls, request: SendRequest, fallback: FallbackRequest) -> _Leg:
        content = fallback.content if fallback.content is not None else request.content
        return cls(fallback.channel, fallback.to or request.to, fallback.sender, content)


def _unit_price(card: RateCard, currency: str, destination: str, now: int, sku: str) -> Micros | None:
    rate = card.find(currency, sku, destination, now)
    return Micros(rate.price) if rate is not None else None


def _content(opened: Sequence[OpenAccount], fields: Mapping[str, Any]) -> Content:
    """Validate content by the model of the first plugin that can send its kind."""
    kind = str(fields.get("kind", ""))
    for account in opened:
        model = account.plugin.info.content_model(kind)
        if model is not None:
            return _validated(model, fields)
    kinds = sorted({known for account in opened for known in account.plugin.info.content_kinds})
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
    return content.model_dump_json(exclude_defaults=False, exclude_none=True)
