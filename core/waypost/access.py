"""Access: who is calling, and whether they still may.

An API key is shown once; only its SHA-256 is stored (256 random bits need no slow hash). The digest is looked up, so
that no comparison depends on the secret. A node may remember what it looked up, but every request's standing is read
again in the transaction that admits it, so a revocation holds from the next request on every node.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

from waypost.refusals import AppInactive, AppNotFound, OrgInactive, OrgNotFound, Refusal, Unauthorized
from waypost.store.keys import Standing

Mode = Literal["live", "test"]

#: What an operator sees of a key after it was made: prefix and four characters.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose key is good."""

    key_id: str
    app_id: str
    org_id: str
    currency: str
    mode: Mode
    on_unknown: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at its making: the one time its secret is known."""

    secret: str
    digest: str
    shown: str


def make_key(mode: Mode) -> NewKey:
    """Make an API key of 256 random bits."""
    secret = f"ak_{mode}_{secrets.token_urlsafe(32)}"
    return NewKey(secret, digest(secret), secret[:_SHOWN])


def digest(secret: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def standing_refusal(standing: Standing | None, now: int) -> Refusal | None:
    """Why this key may not be used now; None when it may."""
    if standing is None or not _is_valid(standing, now):
        return Unauthorized()
    if standing.app_status is None:
        return AppNotFound()
    if standing.org_status is None:
        return OrgNotFound()
    if standing.org_status != "active":
        return OrgInactive()
    if standing.app_status != "active":
        return AppInactive()
    return None


def _is_valid(standing: Standing, now: int) -> bool:
    return standing.revoked_at is None and (standing.expires_at is None or standing.expires_at > now)


def principal(standing: Standing) -> Principal:
    """The caller behind a key whose standing is good."""
    assert standing.org_id is not None
    assert standing.currency is not None
    return Principal(
        key_id=standing.key_id,
        app_id=standing.app_id,
        org_id=standing.org_id,
        currency=standing.currency,
        mode="test" if standing.mode == "test" else "live",
        on_unknown=standing.on_unknown or "hold",
    )
