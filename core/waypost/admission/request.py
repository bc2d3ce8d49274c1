"""A send request as the core knows it, whichever API it came through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackRequest:
    """A further step: another channel, taken when the steps before it failed or did not get far enough in time.

    `after` is in seconds from the earlier step's sending; `until` is what the earlier step must have reached by then.
    `content` None repeats the message's own content.
    """

    channel: str
    to: str | None = None
    sender: str | None = None
    content: Mapping[str, Any] | None = None
    after: int | None = None
    until: Literal["sent", "delivered", "read"] = "sent"


@dataclass(slots=True, kw_only=True)
class SendRequest:
    """What a partner asks for. `content` is the content's fields with its `kind`; `validity` is in seconds."""

    channel: str
    to: str
    content: Mapping[str, Any]
    sender: str | None = None
    reply_to: str | None = None
    validity: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fallback: tuple[FallbackRequest, ...] = ()
    idempotency_key: str | None = None
    #: A digest of the whole request, to tell a repeated request from another one under the same key.
    fingerprint: str = ""
    request_id: str | None = None

    def stored_key(self, mode: str) -> str | None:
        """The idempotency key as it is stored; that of a trial is another, lest it answer for the real thing.

        A blank is in no key that a caller may choose.
        """
        if self.idempotency_key is None or mode == "live":
            return self.idempotency_key
        return f"{mode} {self.idempotency_key}"
