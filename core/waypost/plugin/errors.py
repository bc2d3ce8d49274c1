"""What a plugin raises, named by what the core may do next.

::

    ChannelError
    ├─ NotSent                  the provider certainly did not accept the message
    │  ├─ Permanent             no further try; the step ends, the credit is released, fallback starts
    │  │  ├─ InvalidRecipient   this address will never work
    │  │  ├─ OptedOut           the recipient asked for silence
    │  │  ├─ ContentRejected    this content will never be accepted
    │  │  ├─ OutsideWindow      free-form content needs a recent inbound message; send a template
    │  │  ├─ Unsupported        the provider cannot express what was asked
    │  │  └─ Misconfigured      this sender, template or region is not set up; nothing is paused
    │  ├─ AccountBlocked        the whole account is refused: pause the gateway, alert, keep messages
    │  └─ Transient             try again later, on the same or the next gateway
    │     └─ RateLimited        … after `retry_after`; `scope` says who is limited
    └─ OutcomeUnknown           it MAY have been sent: hold the credit, look it up, never blindly resend

An exception that is not one of these, or a hook's answer of the wrong type, counts as `OutcomeUnknown`.
A `detail` is shown to partners and operators: it never holds an address, message content or a secret.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

RateScope = Literal["account", "sender", "recipient"]


def _text(given: object) -> Any:
    """What providers and plugins say, as a text that can be stored; what is no text is left out."""
    if given is None or (isinstance(given, str) and given.isascii() and "\0" not in given):
        return given
    if isinstance(given, int):
        return str(given)
    return given.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(given, str) else None


def _seconds(given: object) -> float | None:
    """A pause that a provider asks for; what is no number, or none that a clock could hold, is left out."""
    try:
        seconds = float(given) if isinstance(given, int | float) else math.nan
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _sentence(kind: type[ChannelError]) -> str:
    """What a class says of itself, or else what it is derived from does: a plugin's own need not have a docstring."""
    docs = ((base.__doc__ or "").strip() for base in kind.__mro__ if issubclass(base, ChannelError))
    return next((doc.splitlines()[0] for doc in docs if doc), kind.code)


class ChannelError(Exception):
    """The channel could not send this message; read `code` and `detail`."""

    code: ClassVar[str] = "CHANNEL_ERROR"

    def __init__(
        self,
        detail: str = "",
        *,
        provider_code: str | None = None,
        http_status: int | None = None,
    ) -> None:
        self.detail = _text(detail) or _sentence(type(self))
        self.provider_code = _text(provider_code)
        self.http_status = http_status if type(http_status) is int else None
        super().__init__(self.detail)


class NotSent(ChannelError):
    """The provider did not accept this message; it was certainly not sent."""

    code = "NOT_SENT"


class Permanent(NotSent):
    """The provider refuses this message for good; change the request before you send it again."""

    code = "REJECTED"


class InvalidRecipient(Permanent):
    """The recipient cannot be reached at this address; correct it."""

    code = "INVALID_RECIPIENT"


class OptedOut(Permanent):
    """The recipient opted out; do not send again until they opt in."""

    code = "OPTED_OUT"


class ContentRejected(Permanent):
    """The provider refuses this content; change it."""

    code = "CONTENT_REJECTED"


class OutsideWindow(Permanent):
    """The recipient has not written recently; send an approved template instead."""

    code = "OUTSIDE_WINDOW"


class Unsupported(Permanent):
    """This channel cannot express what was asked; choose another content kind or channel."""

    code = "UNSUPPORTED"


class Misconfigured(Permanent):
    """The sender, template or region is not set up at the provider; ask the operator."""

    code = "MISCONFIGURED"


class AccountBlocked(NotSent):
    """The provider refuses the gateway's account; the operator must mend its credentials or funds."""

    code = "ACCOUNT_BLOCKED"


class Transient(NotSent):
    """The provider could not be reached or was busy; the message will be tried again.

    Until its time is over, unless `tries` says how often in all it is worth it through one gateway: 2 for once more.
    What failed before for other reasons counts as well.
    """

    code = "TEMPORARY_FAILURE"

    def __init__(
        self,
        detail: str = "",
        *,
        tries: int | None = None,
        provider_code: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(detail, provider_code=provider_code, http_status=http_status)
        self.tries = max(1, tries) if type(tries) is int else None


class RateLimited(Transient):
    """The provider is limiting the rate; the message will be tried again later.

    `retry_after` is in seconds; `scope` says whether the account, the sender or only this recipient is limited.
    """

    code = "PROVIDER_RATE_LIMITED"

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after: float | None = None,
        scope: RateScope = "account",
        provider_code: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(detail, provider_code=provider_code, http_status=http_status)
        self.retry_after = _seconds(retry_after)
        self.scope: RateScope = scope


class OutcomeUnknown(ChannelError):
    """The provider may or may not have accepted this message; wait for a receipt before you send again."""

    code = "OUTCOME_UNKNOWN"


#: Every class a plugin's error table may name, by class name.
ERROR_CLASSES: Mapping[str, type[ChannelError]] = MappingProxyType({
    cls.__name__: cls
    for cls in (
        Permanent,
        InvalidRecipient,
        OptedOut,
        ContentRejected,
        OutsideWindow,
        Unsupported,
        Misconfigured,
        AccountBlocked,
        Transient,
        RateLimited,
        OutcomeUnknown,
    )
})  # fmt: skip
