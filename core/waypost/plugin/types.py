"""Messages, quotes, results, contexts and verdicts: what passes between the core and a plugin's hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NewType

from waypost.plugin.content import STANDARD_CONTENT, Content
from waypost.plugin.settings import NoSettings, Settings

if TYPE_CHECKING:
    import aiohttp

ChargeOn = Literal["sent", "delivered"]
ReceiptStatus = Literal["sent", "delivered", "read", "undelivered", "failed"]
LastReceipt = Literal["sent", "delivered", "read"]
Receives = Literal["none", "webhook", "listen"]
WebhookScope = Literal["account", "shared"]
Micros = NewType("Micros", int)


@dataclass(frozen=True, slots=True)
class Address:
    """Who or what can receive: `kind` is open (`e164`, `email`, `psid`, `igsid`, `wa_user_id`, a plugin's own)."""

    kind: str
    value: str

    def __repr__(self) -> str:
        """Hide the value: addresses never reach logs."""
        return f"Address({self.kind!r}, '…')"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """A message to one recipient, who may be known by several addresses.

    `sender` is one of the gateway's senders or what the partner asked for (`from`, `senderId`); `validity` is in
    seconds; `reply_to` is the provider's id of the message answered; `options` are the partner's provider-specific
    extras, passed through untouched.
    """

    channel: str
    recipient: tuple[Address, ...]
    content: Content
    sender: str | None = None
    reply_to: str | None = None
    validity: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def address(self, *kinds: str) -> str | None:
        """The recipient's first address of one of these kinds, most wanted first."""
        for kind in kinds:
            for address in self.recipient:
                if address.kind == kind:
                    return address.value
        return None


@dataclass(frozen=True, slots=True)
class QuoteLine:
    """So many units of a sku. The rate card prices it; `charge_on` says which proof makes it billable."""

    sku: str
    quantity: int = 1
    charge_on: ChargeOn = field(default="sent", kw_only=True)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a message will be billed as. `destination` overrides the digits or domain that select the rate."""

    lines: tuple[QuoteLine, ...]
    destination: str | None = field(default=None, kw_only=True)
    note: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """The provider accepted the message (`accepted`) or has passed it on already (`sent`).

    `provider_ids` are all ids it may come back under, most important first; empty where the provider gives none.
    `sent` without any id says that nothing more will be heard of it (a typing indicator): it is settled at once.
    """

    provider_ids: tuple[str, ...] = ()
    status: Literal["accepted", "sent"] = "accepted"
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAttempt:
    """One try, as `lookup` sees it: the message, our correlation and when the try began."""

    message: OutboundMessage
    correlation: str
    started_at: datetime
    provider_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupResult:
    """What the provider's records say of an attempt whose outcome was unknown.

    `found` false means that the provider certainly never accepted it, so that it may be sent again.
    `status` is the furthest status the provider reports for it.
    """

    found: bool
    provider_ids: tuple[str, ...] = ()
    status: ReceiptStatus | Literal["accepted"] = "accepted"
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that a plugin may use while it prices, sends, looks up or checks.

    `account` and `provider_app` hold the plugin's own settings models; `client` is what `open_account` returned.
    `correlation` is our id of this attempt: put it where the provider returns it. `callback_url` is the public URL of
    this gateway's webhook, with that correlation in it (`?ref=…`); None where no public URL is configured.
    `last_inbound_at` is when this recipient is known to have last written to this gateway; None where they are not.
    `history_since` is from when on all that they wrote is on record: when this gateway began to receive, or when
    somebody last wrote to it who may have been them (None: it does not receive, so nothing is known).
    """

    gateway_id: str
    account: Settings
    provider_app: Settings
    http: aiohttp.ClientSession
    log: Any
    now: datetime
    client: object | None = None
    correlation: str = ""
    idempotency_key: str = ""
    callback_url: str | None = None
    last_inbound_at: datetime | None = None
    history_since: datetime | None = None
    rates: Callable[[str], Micros | None] | None = None

    @property
    def silent_since(self) -> datetime | None:
        """Since when the recipient has certainly not written; None where nobody can tell."""
        return max((at for at in (self.last_inbound_at, self.history_since) if at is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookContext:
    """All that a plugin may use while it verifies and parses a delivery.

    `account` is None on a URL shared by several gateways whose account the plugin did not recognise.
    """

    provider_app: Settings
    account: Settings | None
    log: Any
    now: datetime
    gateway_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """A provider's request, untouched. `url` is the PUBLIC url that the provider called, as configured.

    `query` and `headers` keep every value in order; header names are lower-case. `body` is the raw bytes.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), None)

    def only_header(self, name: str) -> str | None:
        """A header's value where it was given exactly once: of two signatures nobody can say which one is meant."""
        wanted = name.lower()
        values = [value for key, value in self.headers if key == wanted]
        return values[0] if len(values) == 1 else None

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What we answer a provider."""

    status: int = 200
    body: bytes = b""
    content_type: str = field(default="text/plain", kw_only=True)


@dataclass(frozen=True, slots=True)
class Verified:
    """The delivery is the provider's. `reply` replaces the plugin's ordinary acknowledgement."""

    reply: WebhookReply | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """A handshake that only wants this reply; nothing is stored."""

    reply: WebhookReply


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not the provider's, or not verifiable. `reason` is for our log; the caller learns nothing.

    `unconfigured` says that there is nothing to verify with: the provider is asked to try again (503), so that nothing
    is lost while an operator completes the settings.
    """

    reason: str
    unconfigured: bool = field(default=False, kw_only=True)


WebhookVerdict = Verified | Challenge | Rejected


@dataclass(frozen=True, slots=True)
class Recognition:
    """This delivery looks like mine, and perhaps is for this account (untrusted until verified)."""

    account_ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountHealth:
    """What a provider says of an account. `blocked` pauses the gateway when a send was refused; nothing resumes it."""

    state: Literal["ok", "blocked", "unknown"]
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateInfo:
    """A template as the provider lists it."""

    template_id: str
    name: str
    language: str | None = None
    category: str | None = None
    status: str = "unknown"
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConnection:
    """What `connect_webhook` came to: `remaining` is what people must still do by hand at the provider, if anything."""

    remaining: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Facts about size, never the provider's policy. Nothing is refused by them: what is too long, `price` refuses."""

    text_length: int | None = None
    media_bytes: int | None = None
    recipients: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelInfo:
    """What a plugin is and can do. Its id is its entry-point name.

    `channel` is what partners name (`SMS`); `api` the lowest plugin API needed ("1.0"); `address_kinds` what it can
    send to, preferred first; `content_models` the plugin's own content kinds; `features` are open strings, of which
    the core knows `service_window` (wants `ctx.last_inbound_at`) and `watermarks` (its receipts may cover everything
    sent to a recipient until then); others, such as `correlation` or `templates`, are for people and the contract kit.
    `last_receipt` is the last status the provider is sure to tell of: a message is settled there, or at DELIVERED.
    `account_ref_field` names the account setting that deliveries on a shared URL carry (a phone number id, a page id).
    `idempotent_for` is the window in seconds in which the provider dedupes by our key; 0 where it does not. A send is
    repeated in it only as long as `send_timeout`, which bounds one `send` in seconds, is left of it.
    """

    channel: str
    title: str
    api: str
    account_settings: type[Settings]
    provider_app_settings: type[Settings] = NoSettings
    address_kinds: tuple[str, ...]
    content_kinds: frozenset[str]
    content_models: tuple[type[Content], ...] = ()
    features: frozenset[str] = frozenset()
    limits: Limits = Limits()
    last_receipt: LastReceipt = "delivered"
    receives: Receives = "webhook"
    webhook_scope: WebhookScope = "account"
    webhook_ack: WebhookReply = WebhookReply(200)
    account_ref_field: str | None = None
    idempotent_for: int = 0
    send_timeout: float = 30.0
    documentation: str = ""
    #: An example of each content kind, for documentation, the demo and the contract kit.
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def content_model(self, kind: str) -> type[Content] | None:
        """The model of a content kind, if this plugin can send it."""
        if kind not in self.content_kinds:
            return None
        for model in self.content_models:
            if model.model_fields["kind"].default == kind:
                return model
        return STANDARD_CONTENT.get(kind)
