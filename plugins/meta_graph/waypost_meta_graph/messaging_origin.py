"""Where one `messaging` event comes from, and the engagement it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from waypost.plugin import Address, Engagement

from waypost_meta_graph.identity import event_id, piece_id
from waypost_meta_graph.messaging_payloads import Surface
from waypost_meta_graph.pieces import child, moment_at, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an event comes from: the account, the person, the time, and the event as the wire gave it."""

    surface: Surface
    account_ref: str | None
    raw: dict[str, Any]
    standby: bool = False

    @property
    def at(self) -> datetime | None:
        """When it happened."""
        return moment_at(self.raw)

    def party(self, key: Literal["sender", "recipient"]) -> Address | None:
        """The person at one end; by `user_ref` before they have a page-scoped id."""
        end = child(self.raw, key)
        identifier = text(end, "id")
        if identifier is not None:
            return Address(self.surface.user_kind, identifier)
        reference = text(end, "user_ref")
        return Address("user_ref", reference) if reference is not None else None

    @property
    def person(self) -> tuple[Address, ...]:
        """Who caused the event, as far as it says."""
        sender = self.party("sender")
        return (sender,) if sender is not None else ()

    @property
    def by_account(self) -> bool:
        """Whether the account itself caused the event: nothing of it is to be taken for a person's."""
        return self.account_ref is not None and text(child(self.raw, "sender"), "id") == self.account_ref

    def identify(self, kind: str, *parts: str | None) -> str:
        """An id from the provider's ids; from the raw event as well where it has none of its own."""
        return event_id(kind, *parts) if all(parts) and parts else piece_id(kind, self.raw, *parts)


def engagement(
    origin: Origin,
    action: Literal["postback", "reaction", "unreaction", "referral", "optin", "other"],
    identity: str,
    detail: Mapping[str, Any],
    *,
    provider_id: str | None = None,
    by_person: bool = True,
) -> Engagement:
    """Something a person did, or, not `by_person`, something that was done in their thread."""
    return Engagement(
        event_id=identity,
        account_ref=origin.account_ref,
        occurred_at=origin.at,
        raw=origin.raw,
        action=action,
        provider_id=provider_id,
        sender=origin.person if by_person else (),
        detail=detail,
    )
