"""Inbound messages: text, media, places, taps on buttons, consent words.

Sources: Twilio docs, "Twilio's request to your webhook URL", "WhatsApp: receive rich messages", "Advanced Opt-Out";
the default consent words are those of error 23004's page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError
from waypost.plugin import (
    Address,
    ChannelEvent,
    ConsentChange,
    Content,
    Engagement,
    InboundMessage,
    Location,
    Media,
    Text,
    Unknown,
)

from waypost_sms_twilio.addresses import received_address

Form = Mapping[str, str]

#: Twilio itself obeys these on SMS; on WhatsApp it leaves them to us.
STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})

_KINDS: Mapping[str, Literal["image", "video", "audio"]] = {"image": "image", "video": "video", "audio": "audio"}
#: MMS carries ten at most; what claims more is not believed.
_MOST_MEDIA = 10
_LONGEST_CAPTION = 4096


def inbound_events(sid: str, form: Form, *, whatsapp: bool) -> Sequence[ChannelEvent]:
    """The message, and what its sender did by it: a tap, a referral, a change of consent."""
    sender = _senders(form)
    events: list[ChannelEvent] = [_message(sid, form, sender)]
    tap = _tap(form)
    if tap:
        events.append(_engagement("postback", sid, form, sender, tap))
    referral = {name.removeprefix("Referral"): value for name, value in form.items() if _is_referral(name) and value}
    if referral:
        events.append(_engagement("referral", sid, form, sender, referral))
    state = _consent(form, whatsapp=whatsapp)
    if state is not None:
        reason = form.get("OptOutType") or "keyword"
        events.append(
            ConsentChange(
                event_id=f"{sid}.{state}",
                account_ref=_account(form),
                address=sender[0],
                recipient=received_address(form.get("To", "")),
                state=state,
                reason=reason.upper(),
                raw=dict(form),
            )
        )
    return events


def _message(sid: str, form: Form, sender: tuple[Address, ...]) -> InboundMessage:
    contents = _contents(form)
    return InboundMessage(
        event_id=f"{sid}.received",
        account_ref=_account(form),
        provider_id=sid,
        sender=sender,
        recipient=received_address(form.get("To", "")),
        content=contents[0],
        more=tuple(contents[1:]),
        sender_name=form.get("ProfileName") or None,
        reply_to=_answered(form),
        raw=dict(form),
    )


def _engagement(
    action: Literal["postback", "referral"], sid: str, form: Form, sender: tuple[Address, ...], detail: Form
) -> Engagement:
    return Engagement(
        event_id=f"{sid}.{action}",
        account_ref=_account(form),
        action=action,
        provider_id=_answered(form) if action == "postback" else None,
        sender=sender,
        recipient=received_address(form.get("To", "")),
        detail=detail,
        raw=dict(form),
    )


def _account(form: Form) -> str | None:
    return form.get("AccountSid") or None


def _answered(form: Form) -> str | None:
    return form.get("OriginalRepliedMessageSid") or None


def _senders(form: Form) -> tuple[Address, ...]:
    addresses = [received_address(form[name]) for name in ("From", "ExternalUserId") if form.get(name)]
    return tuple(dict.fromkeys(addresses))


def _contents(form: Form) -> list[Content]:
    body = form.get("Body", "")
    media = _media(form)
    if media:
        return media if not body or len(body) <= _LONGEST_CAPTION else [_text(body), *media]
    if form.get("Latitude") and form.get("Longitude"):
        return [_location(form)]
    unseen = _unseen_media(form)
    if body or unseen:
        return [_text(body), *unseen] if body else unseen
    return [Unknown(provider_kind=form.get("MessageType") or "empty")]


def _unseen_media(form: Form) -> list[Content]:
    """Media that are counted and not named, as Event Streams do it; Twilio keeps them under the message's SID."""
    count = form.get("NumMedia", "")
    if not count.isdecimal() or not int(count[:3]) or form.get("MediaUrl0"):
        return []
    return [Unknown(provider_kind="media", fields={"NumMedia": count})]


def _text(body: str) -> Content:
    try:
        return Text(body=body)
    except ValidationError:
        return Unknown(provider_kind="text", fields={"Body": body})


def _media(form: Form) -> list[Content]:
    contents: list[Content] = []
    body = form.get("Body", "")
    for index in range(_MOST_MEDIA):
        url = form.get(f"MediaUrl{index}")
        if not url:
            break
        mime = form.get(f"MediaContentType{index}", "")
        caption = body if index == 0 and 0 < len(body) <= _LONGEST_CAPTION else None
        kind = _KINDS.get(mime.partition("/")[0].lower(), "document")
        if kind == "image" and form.get("MessageType") == "sticker":
            content = _checked_media("sticker", url, mime, caption)
        else:
            content = _checked_media(kind, url, mime, caption)
        contents.append(content)
    return contents


def _checked_media(kind: Any, url: str, mime: str, caption: str | None) -> Content:
    try:
        return Media(kind=kind, url=url, mime_type=mime or None, caption=caption)
    except ValidationError:
        return Unknown(provider_kind=kind, fields={"MediaUrl": url, "MediaContentType": mime})


def _location(form: Form) -> Content:
    fields = {name: form[name] for name in ("Latitude", "Longitude", "Label", "Address") if form.get(name)}
    try:
        return Location(
            latitude=float(fields["Latitude"]),
            longitude=float(fields["Longitude"]),
            name=fields.get("Label"),
            address=fields.get("Address"),
        )
    except ValueError:
        return Unknown(provider_kind="location", fields=fields)


def _tap(form: Form) -> dict[str, str]:
    names = {
        "ButtonPayload": "payload",
        "ButtonText": "title",
        "ListId": "payload",
        "ListTitle": "title",
        "ListDescription": "description",
    }
    return {ours: form[theirs] for theirs, ours in names.items() if form.get(theirs)}


def _is_referral(name: str) -> bool:
    return name.startswith("Referral") and name != "ReferralNumMedia"


def _consent(form: Form, *, whatsapp: bool) -> Literal["opted_out", "opted_in"] | None:
    word = form.get("OptOutType", "").upper()
    if not word and not whatsapp:
        word = form.get("Body", "").strip().upper()
        word = "STOP" if word in STOP_WORDS else "START" if word in START_WORDS else ""
    if word == "STOP":
        return "opted_out"
    return "opted_in" if word == "START" else None
