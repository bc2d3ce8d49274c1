"""What a provider can tell us: the result of `parse_event`.

`event_id` makes an event itself: the same delivery parsed again, or delivered again, gives the same id. It is unique
within a gateway. `account_ref` says which account a shared URL's event belongs to. `raw` is the provider's own form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from waypost.plugin.content import Content
from waypost.plugin.types import Address, Micros, ReceiptStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelEvent:
    """Something a provider said."""

    event_id: str
    account_ref: str | None = None
    occurred_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage(ChannelEvent):
    """Somebody wrote to us. `sender` holds every address they are known by, best first."""

    provider_id: str
    sender: tuple[Address, ...]
    recipient: Address
    content: Content = field(repr=False)
    sender_name: str | None = field(default=None, repr=False)
    reply_to: str | None = None
    #: A change to an earlier inbound message: the new content replaces it, or it was taken back.
    change: Literal["new", "edit", "unsend"] = "new"
    #: Further media of the same message, each as its own content.
    more: tuple[Content, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryUpdate(ChannelEvent):
    """A receipt for one message (by `correlation` or `provider_id`), or for all up to a watermark.

    A watermark receipt names the `recipient` and `watermark`: every message to them sent until then has this status.
    `error_code` and `error_class` (a name from `waypost.plugin.errors`) come with a failure;
    `error_detail` is safe to show.
    """

    status: ReceiptStatus
    provider_id: str | None = None
    correlation: str | None = None
    recipient: Address | None = None
    watermark: datetime | None = None
    error_code: str | None = None
    error_class: str | None = None
    error_detail: str | None = None
    #: Several recipients share one provider id (email cc, groups): which one this receipt is about.
    participant: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engagement(ChannelEvent):
    """A recipient did something with a message: opened, clicked, tapped, reacted, followed a referral.

    `recipient` is the address of ours that it was done to, where one account has several.
    """

    action: Literal["open", "click", "postback", "reaction", "unreaction", "referral", "optin", "other"]
    provider_id: str | None = None
    correlation: str | None = None
    sender: tuple[Address, ...] = ()
    recipient: Address | None = None
    detail: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentChange(ChannelEvent):
    """A recipient opted out or in. `scope` is open: `all`, `marketing`, a group id.

    `recipient` is the address of ours that they said it to, and `provider_id` or `correlation` the message that they
    said it of, where the provider tells: of gateways that share an account, that finds the one it concerns.
    """

    address: Address
    state: Literal["opted_out", "opted_in"]
    scope: str = "all"
    reason: str = ""
    recipient: Address | None = None
    provider_id: str | None = None
    correlation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChange(ChannelEvent):
    """A recipient is now known by another address, or by one more."""

    old: Address
    new: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUpdate(ChannelEvent):
    """A template's status, category or quality changed at the provider."""

    template_id: str
    name: str = ""
    language: str | None = None
    status: str | None = None
    category: str | None = None
    quality: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceUpdate(ChannelEvent):
    """What the provider charges us for a message. It is kept beside it; what the partner pays does not change."""

    provider_id: str | None = None
    correlation: str | None = None
    amount: Micros | None = None
    currency: str | None = None
    billable: bool | None = None
    category: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate(ChannelEvent):
    """Something about our account at the provider: restricted, reviewed, renamed, quality changed."""

    topic: str
    state: Literal["ok", "warning", "blocked", "info"] = "info"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(ChannelEvent):
    """A delivery, or a part of one, that this plugin does not know; its raw form is kept."""

    reason: str
