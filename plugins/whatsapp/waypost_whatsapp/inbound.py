"""Messages that people write. Source: Meta, WhatsApp Cloud API, "Webhooks", messages object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import ValidationError
from waypost.plugin import (
    Address,
    AddressChange,
    ChannelEvent,
    Contacts,
    Content,
    Engagement,
    InboundMessage,
    Location,
    Media,
    Text,
    Unknown,
)
from waypost.plugin.received import read_json
from waypost_meta_graph import event_id
from waypost_meta_graph.pieces import child, decimal, flag, items, moment_at, objects, text

from waypost_whatsapp.addresses import business, person, wa_address
from waypost_whatsapp.change import Change


class ContactBook:
    """The contacts of one change, found without a search: a delivery may hold a thousand messages and as many."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._by_number: dict[str, Mapping[str, Any]] = {}
        self._by_user_id: dict[str, Mapping[str, Any]] = {}
        contacts = list(objects(value, "contacts"))
        for contact in contacts:
            for key, found in (("wa_id", self._by_number), ("user_id", self._by_user_id)):
                name = text(contact, key)
                if name is not None:
                    found.setdefault(name, contact)
        alone = len(contacts) == 1 and len(items(value, "messages")) == 1
        self._only: Mapping[str, Any] = contacts[0] if alone else {}

    def sender(self, piece: Any) -> Mapping[str, Any]:
        """The contact that a message is from: by number, by user id, or the only one there is."""
        number, user_id = text(piece, "from"), text(piece, "from_user_id")
        if number is None and user_id is None:
            return self._only
        for name, contacts in ((number, self._by_number), (user_id, self._by_user_id), (number, self._by_user_id)):
            if name is not None and name in contacts:
                return contacts[name]
        return {}


def addresses_of(piece: Any, contact: Mapping[str, Any]) -> tuple[Address, ...]:
    """Every address of the person that a piece is from, as the piece and their contact name them; the number first."""
    return person(
        (piece, "from"),
        (contact, "wa_id"),
        (piece, "from_user_id"),
        (contact, "user_id"),
        (piece, "from_parent_user_id"),
        (contact, "parent_user_id"),
    )


def message_events(change: Change, piece: Any, contacts: ContactBook) -> Iterator[ChannelEvent]:
    """What one element of `messages` says: usually an inbound message, and what comes with it."""
    identity = text(piece, "id")
    contact = contacts.sender(piece)
    sender = addresses_of(piece, contact)
    if identity is None or not sender:
        yield change.unknown("a message without an id or a sender", piece)
        return
    kind = text(piece, "type") or ""
    if kind == "system":
        yield _system(change, piece, identity, sender)
    elif kind == "reaction" and text(child(piece, "reaction"), "message_id"):
        yield _reaction(change, piece, identity, sender)
    else:
        yield _message(change, piece, identity, sender, contact)
        yield from _extras(change, piece, identity, sender)


def _message(
    change: Change, piece: Mapping[str, Any], identity: str, sender: tuple[Address, ...], contact: Mapping[str, Any]
) -> InboundMessage:
    kind = text(piece, "type") or ""
    provider_id, what, body = identity, "new", piece
    replaced = text(child(piece, kind), "original_message_id")
    if kind in ("edit", "revoke") and replaced is not None:
        provider_id = replaced
        what = "edit" if kind == "edit" else "unsend"
        body = child(piece, "edit", "message") if kind == "edit" else piece
    return InboundMessage(
        event_id=event_id("message", change.account_ref, identity),
        account_ref=change.account_ref,
        occurred_at=moment_at(piece),
        raw=piece,
        provider_id=provider_id,
        sender=sender,
        recipient=business(change.value),
        content=content_of(body),
        sender_name=text(child(contact, "profile"), "name"),
        reply_to=text(child(piece, "context"), "id"),
        change=_CHANGES[what],
    )


_CHANGES: Mapping[str, Literal["new", "edit", "unsend"]] = {"new": "new", "edit": "edit", "unsend": "unsend"}


def _extras(
    change: Change, piece: Mapping[str, Any], identity: str, sender: tuple[Address, ...]
) -> Iterator[Engagement]:
    """A tap is a message and an engagement with ours; so is a message that an ad brought."""
    tapped = _tap(piece)
    if tapped is not None:
        yield Engagement(
            event_id=event_id("postback", change.account_ref, identity),
            account_ref=change.account_ref,
            occurred_at=moment_at(piece),
            raw=piece,
            action="postback",
            provider_id=text(child(piece, "context"), "id"),
            sender=sender,
            detail=tapped | {"message_id": identity},
        )
    referral = child(piece, "referral")
    if referral:
        yield Engagement(
            event_id=event_id("referral", change.account_ref, identity),
            account_ref=change.account_ref,
            occurred_at=moment_at(piece),
            raw=piece,
            action="referral",
            sender=sender,
            detail=referral,
        )


def _tap(piece: Mapping[str, Any]) -> dict[str, Any] | None:
    if text(piece, "type") == "button":
        button = child(piece, "button")
        return {"kind": "button", "payload": text(button, "payload"), "title": text(button, "text")}
    interactive = child(piece, "interactive")
    for kind in ("button_reply", "list_reply"):
        reply = child(interactive, kind)
        if reply:
            return {"kind": kind, "payload": text(reply, "id"), "title": text(reply, "title")}
    return None


def _reaction(change: Change, piece: Mapping[str, Any], identity: str, sender: tuple[Address, ...]) -> ChannelEvent:
    reaction = child(piece, "reaction")
    emoji = text(reaction, "emoji")
    return Engagement(
        event_id=event_id("reaction", change.account_ref, identity),
        account_ref=change.account_ref,
        occurred_at=moment_at(piece),
        raw=piece,
        action="reaction" if emoji else "unreaction",
        provider_id=text(reaction, "message_id"),
        sender=sender,
        detail={"emoji": emoji} if emoji else {},
    )


def _system(change: Change, piece: Mapping[str, Any], identity: str, sender: tuple[Address, ...]) -> ChannelEvent:
    system = child(piece, "system")
    number = text(system, "wa_id") or text(system, "new_wa_id")
    moved = text(system, "type") in ("user_changed_number", None) and number is not None
    new = wa_address(number) if number is not None else None
    if not moved or new is None or new == sender[0]:
        return change.unknown("a system message that is not known", piece)
    return AddressChange(
        event_id=event_id("system", change.account_ref, identity),
        account_ref=change.account_ref,
        occurred_at=moment_at(piece),
        raw=piece,
        old=sender[0],
        new=new,
    )


# ---- content


def content_of(piece: Mapping[str, Any]) -> Content:
    """What a message holds; `Unknown` with Meta's own fields for what has no kind of its own."""
    kind = text(piece, "type") or ""
    build = _BUILDERS.get(kind)
    try:
        content = build(kind, piece) if build is not None else None
    except ValidationError:
        content = None
    return content if content is not None else _unknown(kind, piece)


def _unknown(kind: str, piece: Mapping[str, Any]) -> Unknown:
    body = piece.get(kind)
    fields = dict(body) if isinstance(body, dict) else {} if body is None else {kind: body}
    if kind == "interactive":
        kind = f"interactive.{text(fields, 'type') or 'unknown'}"
    if items(piece, "errors"):
        fields["errors"] = items(piece, "errors")
    return Unknown(provider_kind=kind, fields=fields)


def _text(kind: str, piece: Mapping[str, Any]) -> Content | None:
    return _words(text(child(piece, kind), "body"))


def _words(words: str | None) -> Content | None:
    return Text(body=words) if words else None


def _media(kind: str, piece: Mapping[str, Any]) -> Content | None:
    media = child(piece, kind)
    media_id, url = text(media, "id"), text(media, "url")
    if media_id is None and url is None:
        return None
    made: dict[str, Any] = {
        "kind": kind,
        "media_id": media_id,
        "url": url,
        "caption": text(media, "caption"),
        "filename": text(media, "filename"),
        "mime_type": text(media, "mime_type"),
        "voice": flag(media, "voice") is True,
    }
    try:
        return Media(**made)
    except ValidationError as error:
        # One part that does not fit (an odd url, an endless caption) costs that part, not the media.
        refused = {problem["loc"][0] for problem in error.errors(include_input=False) if problem["loc"]}
        return Media(**{name: value for name, value in made.items() if name not in refused})


def _location(kind: str, piece: Mapping[str, Any]) -> Content | None:
    place = child(piece, kind)
    latitude, longitude = decimal(place, "latitude"), decimal(place, "longitude")
    if latitude is None or longitude is None:
        return None
    return Location(latitude=latitude, longitude=longitude, name=text(place, "name"), address=text(place, "address"))


def _contacts(_: str, piece: Mapping[str, Any]) -> Content | None:
    contacts = list(objects(piece, "contacts"))
    return Contacts(contacts=contacts) if contacts else None


def _button(kind: str, piece: Mapping[str, Any]) -> Content | None:
    return _words(text(child(piece, kind), "text") or text(child(piece, kind), "payload"))


def _interactive(kind: str, piece: Mapping[str, Any]) -> Content | None:
    interactive = child(piece, kind)
    for reply in (child(interactive, "button_reply"), child(interactive, "list_reply")):
        if reply:
            return _words(text(reply, "title") or text(reply, "id"))
    flow = child(interactive, "nfm_reply")
    if not flow:
        return None
    return Unknown(provider_kind="interactive.nfm_reply", fields=dict(flow) | {"response": _answers(flow)})


def _answers(flow: Mapping[str, Any]) -> Any:
    """A flow's answers come as a string of JSON."""
    return read_json((text(flow, "response_json") or "null").encode())


_BUILDERS: Mapping[str, Callable[[str, Mapping[str, Any]], Content | None]] = {
    "text": _text,
    "image": _media,
    "video": _media,
    "audio": _media,
    "document": _media,
    "sticker": _media,
    "location": _location,
    "contacts": _contacts,
    "button": _button,
    "interactive": _interactive,
}
