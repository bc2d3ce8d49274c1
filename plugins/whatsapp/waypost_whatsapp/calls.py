"""Calls: one that a person makes opens the customer service window as a message does; nothing here answers it.

Source: Meta, WhatsApp Cloud API, "Calling", field `calls`; "Pricing", customer service windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from waypost.plugin import ChannelEvent, InboundMessage, Unknown
from waypost_meta_graph import event_id
from waypost_meta_graph.pieces import child, items, moment_at, text

from waypost_whatsapp.addresses import business
from waypost_whatsapp.change import Change
from waypost_whatsapp.inbound import ContactBook, addresses_of


def calls_field(change: Change) -> Iterator[ChannelEvent]:
    """A person's call as a message of unknown content, once; how calls go on and end, and our own, as unknown."""
    calls = items(change.value, "calls")
    contacts = ContactBook(change.value)
    for piece in calls:
        yield _begun(change, contacts, piece) or change.unknown("a call that nobody begins here", piece)
    for piece in items(change.value, "statuses") if calls else ():
        yield change.unknown("a call's status", piece)


def _begun(change: Change, contacts: ContactBook, piece: Any) -> InboundMessage | None:
    identity, contact = text(piece, "id"), contacts.sender(piece)
    sender = addresses_of(piece, contact)
    to_us = text(piece, "event") == "connect" and text(piece, "direction") == "USER_INITIATED"
    if identity is None or not sender or not to_us:
        return None
    return InboundMessage(
        event_id=event_id("call", change.account_ref, identity),
        account_ref=change.account_ref,
        occurred_at=moment_at(piece),
        raw=piece,
        provider_id=identity,
        sender=sender,
        recipient=business(change.value),
        content=Unknown(provider_kind="call", fields={}),
        sender_name=text(child(contact, "profile"), "name"),
    )
