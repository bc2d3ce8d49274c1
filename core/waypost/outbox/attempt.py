"""One attempt: what is handed to a plugin, and what its answer means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson
from pydantic import ValidationError

from waypost import watermarks
from waypost.clock import SECOND
from waypost.host.accounts import OpenAccount
from waypost.host.dispatch import ChannelPlugin
from waypost.lifecycle.evidence import Evidence, Kind, core_key
from waypost.outbox.retry import decide, is_given_up
from waypost.plugin.content import STANDARD_CONTENT, Content, Unknown
from waypost.plugin.errors import ChannelError, NotSent, OutcomeUnknown, Permanent
from waypost.plugin.types import Address, OutboundMessage, SendResult
from waypost.progress.case import Report, Retry
from waypost.routing import Directory
from waypost.store.events import AttemptRef
from waypost.store.messages import Message
from waypost.store.steps import Step, load_choices


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed step with everything that sending it takes."""

    step: Step
    message: Message
    opened: OpenAccount
    outbound: OutboundMessage
    choices: int
    #: Choices whose gateways were disabled meanwhile.
    left_out: frozenset[int]
    #: An earlier attempt may be out, and the provider would not notice that this one is the same message.
    repeats_blindly: bool = False

    @property
    def ref(self) -> AttemptRef:
        """Which attempt this is."""
        return AttemptRef(self.step.message_id, self.step.step_no, self.step.attempt)

    @property
    def deduped_until(self) -> int:
        """Until when another attempt may begin that the provider notices by our key; 0 where it does not."""
        return deduped_until(self.message, self.opened.plugin)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of a step, for providers that dedupe."""
        return f"{self.step.message_id}.{self.step.step_no}"


def deduped_until(message: Message, plugin: ChannelPlugin | None) -> int:
    """Until when an attempt may begin so that the provider notices that it has had the message already.

    It may take as long as a send may before it is there.
    """
    if plugin is None or plugin.info.idempotent_for <= plugin.info.send_timeout:
        return 0
    return message.created_at + round((plugin.info.idempotent_for - plugin.info.send_timeout) * SECOND)


def may_not_be_repeated(step: Step, message: Message, plugin: ChannelPlugin | None, on_unknown: str, now: int) -> bool:
    """Whether a step has waited too long: an earlier attempt of it may be out, and the provider has forgotten that one.

    `on_unknown` is what its app wishes; while the receipt window is open, nobody knows of all attempts what became.
    """
    return step.window_until is not None and on_unknown != "resend" and now >= deduped_until(message, plugin)


def choices_of(step: Step, directory: Directory) -> tuple[int, frozenset[int]]:
    """How many choices a step has, and those among them by which it cannot go on: their gateways are disabled."""
    gateway_ids = [choice.gateway_id for choice in load_choices(step.choices)]
    return len(gateway_ids), directory.disabled(gateway_ids)


def outbound(step: Step, message: Message, opened: OpenAccount) -> OutboundMessage:
    """What the plugin is to send, or was, by the opened account: the step may wait for another one meanwhile.

    Raises `ValueError` where what is stored cannot be read any more.
    """
    content = message.content
    addresses = orjson.loads(message.addresses)
    if step.content is not None:
        own = orjson.loads(step.content)
        content, addresses = own["content"], [own["address"]]
    extras = orjson.loads(message.options)
    (sender,) = (way.sender for way in load_choices(step.choices) if way.gateway_id == opened.gateway.id)
    return OutboundMessage(
        channel=step.channel,
        recipient=tuple(Address(kind, value) for kind, value in addresses),
        content=read_content(content, opened),
        sender=sender,
        reply_to=extras["reply_to"],
        validity=extras["validity"],
        options=extras["options"],
    )


def read_content(stored: str, opened: OpenAccount | None) -> Content:
    """Stored content as its model; `Unknown` where no model of that kind is loaded."""
    fields = orjson.loads(stored)
    kind = fields.get("kind", "")
    model = opened.plugin.info.content_model(kind) if opened else STANDARD_CONTENT.get(kind)
    if model is None:
        return Unknown(provider_kind=kind, fields=fields)
    try:
        content = model.model_validate(fields)
    except ValidationError:
        return Unknown(provider_kind=kind, fields=fields)
    assert isinstance(content, Content)
    return content


def evidence(step: Step, kind: Kind, now: int, **details: object) -> Evidence:
    """An event of this attempt, told by us."""
    code = details.pop("code", None)
    return Evidence(
        message_id=step.message_id,
        key=core_key(step.step_no, step.attempt, kind),
        step_no=step.step_no,
        attempt=step.attempt,
        kind=kind,
        source="core",
        gateway_id=step.gateway_id,
        at=now,
        code=str(code) if code is not None else None,
        data={name: value for name, value in details.items() if value not in (None, "", ())},
    )


def sent(attempt: Attempt, result: SendResult, began: int, now: int) -> list[Report]:
    """The provider accepted it; and where nothing can be heard of it any more, its receipt window is closed."""
    known_as = known_by(result.provider_ids, attempt.opened.plugin, attempt.outbound, began, attempt.ref)
    details = {"provider_ids": list(result.provider_ids), "accepted_as": result.status}
    reports = [Report(evidence(attempt.step, "sent", now, **details), provider_ids=known_as)]
    if result.status == "sent" and not result.provider_ids:
        reports.append(Report(evidence(attempt.step, "window_closed", now)))
    return reports


def known_by(
    provider_ids: tuple[str, ...], plugin: ChannelPlugin, message: OutboundMessage, began: int, ref: AttemptRef
) -> tuple[str, ...]:
    """The provider's ids of an attempt that it accepted, and those under which watermarks find it.

    A watermark is on the provider's clock and may be as early as the message itself, which it had before we had its
    answer: the message is known by when its attempt began.
    """
    if watermarks.FEATURE not in plugin.info.features:
        return provider_ids
    return provider_ids + tuple(watermarks.sent_id(address, began, ref) for address in message.recipient)


def not_accepted(attempt: Attempt, error: ChannelError, now: int) -> Report:
    """The provider did not accept it, or nobody knows."""
    details = {"code": error.code, "detail": error.detail, "provider_code": error.provider_code,
               "http_status": error.http_status}  # fmt: skip
    step = attempt.step
    # Where an earlier attempt may be out (its receipt window is open) it is no end: that one is waited for.
    given_up = isinstance(error, NotSent) and is_given_up(step, attempt.choices, error, attempt.left_out)
    is_last = step.window_until is None and given_up
    if isinstance(error, Permanent) and attempt.repeats_blindly:
        return Report(evidence(step, "not_sent", now, **details, given_up=True))
    if isinstance(error, Permanent) or is_last:
        return Report(evidence(step, "failed", now, **details))
    if isinstance(error, NotSent):
        retry = decide(step, attempt.choices, error, now, attempt.left_out)
        retry = replace(retry, deduped_until=attempt.deduped_until)
        moved = retry.choice != step.choice
        return Report(evidence(step, "not_sent", now, **details, failover=moved or None, retry_at=retry.due_at), retry)
    assert isinstance(error, OutcomeUnknown), f"{type(error).__name__} is neither sent, not sent nor unknown"
    return Report(evidence(step, "unknown", now, **details), _idempotent_retry(attempt, now))


def not_begun(attempt: Attempt, now: int) -> Report:
    """It was claimed and could not be begun, which is neither its own doing nor its gateway's."""
    step = attempt.step
    retry = Retry(due_at=now + SECOND, choice=step.choice, tries=step.tries, deduped_until=attempt.deduped_until)
    return Report(evidence(step, "not_sent", now, code="NOT_BEGUN"), retry)


def not_repeated(step: Step, now: int) -> Report:
    """It was to be tried again while the provider remembers, and waited too long: the earlier attempt is waited for."""
    return Report(
        evidence(step, "not_sent", now, code="NOT_REPEATED"), Retry(due_at=now, choice=step.choice, tries=step.tries)
    )


def _idempotent_retry(attempt: Attempt, now: int) -> Retry | None:
    """Try again all the same where the provider dedupes by our key and still remembers it."""
    if now >= attempt.deduped_until:
        return None
    return replace(decide(attempt.step, 1, NotSent(), now), deduped_until=attempt.deduped_until)
