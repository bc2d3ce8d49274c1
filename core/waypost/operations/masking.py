"""Masking: enough of an address for an operator to tell two messages apart, never the address."""

from __future__ import annotations

HIDDEN = "…"


def masked(address: str) -> str:
    """The first three characters of an address and its last two; nothing of a short one; no mailbox name."""
    mailbox, at, domain = address.rpartition("@")
    if at:
        return f"{mailbox[:1]}{HIDDEN}@{domain}"
    return f"{address[:3]}{HIDDEN}{address[-2:]}" if len(address) > 8 else HIDDEN
