"""One `messaging` event of Messenger or Instagram → channel events.

Messenger confirms by watermark, Instagram by message id; both forms are read on either. Source: Meta, Messenger
Platform, "Webhook events"; Instagram Platform, "Webhook notification examples".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from waypost.plugin import (
    AccountUpdate,
    Address,
    ChannelEvent,
    ConsentChange,
    DeliveryUpdate,
    InboundMessage,
    Unknown,
)

from waypost_meta_graph.identity import event_id, piece_digest, piece_id
from waypost_meta_graph.messaging_contents import contents, words_content
from waypost_meta_graph.messaging_origin import Origin, engagement
from waypost_meta_graph.pieces import child, flag, items, moment, text

#: The scope under which consent to Meta's notification messages is kept.
NOTIFICATION_SCOPE = "marketing"


# ---- messages


def _message(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    mid = text(body, "mid")
    if mid is None:
        return
    if flag(body, "is_echo") or flag(body, "is_self") or origin.by_account:
        yield _echo(origin, body, mid)
        return
    if not origin.person:
        return
    if flag(body, "is_deleted"):
        yield _inbound(origin, mid, event_id("unsend", mid), (Unknown(provider_kind="unsend"),), change="unsend")
        return
    yield _inbound(origin, mid, event_id("message", mid), contents(body), reply_to=text(child(body, "reply_to"), "mid"))
    tapped = text(child(body, "quick_reply"), "payload")
    if tapped is not None:
        detail = {"kind": "quick_reply", "payload": tapped, "title": text(body, "text"), "message_id": mid}
        yield engagement(origin, "postback", event_id("quick_reply", mid), detail)
    if child(body, "referral"):
        yield engagement(origin, "referral", event_id("referral", mid), child(body, "referral"))


def _inbound(
    origin: Origin,
    mid: str,
    identity: str,
    found: tuple[Any, ...],
    *,
    change: Literal["new", "edit", "unsend"] = "new",
    reply_to: str | None = None,
) -> InboundMessage:
    account = text(child(origin.raw, "recipient"), "id") or origin.account_ref or ""
    return InboundMessage(
        event_id=identity,
        account_ref=origin.account_ref,
        occurred_at=origin.at,
        raw=origin.raw,
        provider_id=mid,
        sender=origin.person,
        recipient=Address(origin.surface.account_kind, account),
        content=found[0],
        more=tuple(found[1:]),
        reply_to=reply_to,
        change=change,
    )


def _echo(origin: Origin, body: dict[str, Any], mid: str) -> ChannelEvent:
    """A message of the account's own. With `metadata` this gateway sent it; else somebody did, perhaps by hand."""
    if flag(body, "is_deleted"):
        # An unsend has the id of the message it takes back, whose echo has been told already.
        return _of_account(origin, "echo_unsend", event_id("echo-unsend", mid), mid)
    metadata = text(body, "metadata")
    if metadata is None:
        return _of_account(origin, "echo", event_id("echo", mid), mid, app_id=text(body, "app_id"))
    return DeliveryUpdate(
        event_id=event_id("sent", mid),
        account_ref=origin.account_ref,
        occurred_at=origin.at,
        raw=origin.raw,
        status="sent",
        provider_id=mid,
        correlation=metadata,
        recipient=origin.party("recipient"),
    )


def _of_account(origin: Origin, kind: str, identity: str, mid: str, **detail: str | None) -> ChannelEvent:
    """Something the account did in a thread, which is nobody's message to us and no receipt."""
    return engagement(origin, "other", identity, {"kind": kind, "message_id": mid, **detail}, by_person=False)


def _edit(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    mid, words = text(body, "mid"), text(body, "text")
    if mid is None or not origin.person:
        return
    if origin.by_account:
        yield _of_account(origin, "echo_edit", origin.identify("echo-edit", mid, text(body, "num_edit")), mid)
        return
    content = words_content(words) if words is not None else Unknown(provider_kind="message_edit")
    yield _inbound(origin, mid, origin.identify("edit", mid, text(body, "num_edit")), (content,), change="edit")


# ---- receipts


def _delivery(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    return _receipts(origin, body, "delivered")


def _read(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    return _receipts(origin, body, "read")


def _receipts(origin: Origin, body: dict[str, Any], status: Literal["delivered", "read"]) -> Iterator[ChannelEvent]:
    """One update per message id named, and one for all that were sent up to the watermark."""
    person = origin.party("sender")
    mids = [mid for mid in items(body, "mids") if isinstance(mid, str) and mid]
    single = text(body, "mid")
    for mid in [*mids, single] if single is not None else mids:
        yield DeliveryUpdate(
            event_id=event_id(status, mid),
            account_ref=origin.account_ref,
            occurred_at=origin.at,
            raw=origin.raw,
            status=status,
            provider_id=mid,
            recipient=person,
        )
    watermark = moment(body.get("watermark"))
    if watermark is not None and person is not None:
        yield DeliveryUpdate(
            event_id=event_id(f"{status}-until", piece_digest(person.value), text(body, "watermark")),
            account_ref=origin.account_ref,
            occurred_at=origin.at,
            raw=origin.raw,
            status=status,
            recipient=person,
            watermark=watermark,
        )


# ---- what people do


def _reaction(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    mid, action = text(body, "mid"), text(body, "action")
    if mid is None or action not in ("react", "unreact"):
        return
    detail = {key: value for key in ("reaction", "emoji") if (value := text(body, key)) is not None}
    yield engagement(
        origin,
        "reaction" if action == "react" else "unreaction",
        piece_id(action, origin.raw, mid),
        detail,
        provider_id=mid,
        by_person=not origin.by_account,
    )


def _postback(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    mid = text(body, "mid")
    detail = {"kind": "postback", "payload": text(body, "payload"), "title": text(body, "title"), "message_id": mid}
    if origin.by_account:
        yield _of_account(origin, "echo_postback", origin.identify("postback", mid), mid or "")
        return
    yield engagement(origin, "postback", origin.identify("postback", mid), detail)
    if child(body, "referral"):
        yield engagement(origin, "referral", origin.identify("referral", mid), child(body, "referral"))


def _referral(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    yield engagement(origin, "referral", piece_id("referral", origin.raw), body)


def _optin(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    """Consent to notification messages. STOP and RESUME change it; an opt-in also brings the token to send with."""
    status = text(body, "notification_messages_status")
    stopped = status == "STOP_NOTIFICATIONS"
    if status is None or status not in ("STOP_NOTIFICATIONS", "RESUME_NOTIFICATIONS"):
        yield engagement(origin, "optin", piece_id("optin", origin.raw), body)
    if text(body, "type") == "notification_messages" and origin.person:
        yield ConsentChange(
            event_id=piece_id("consent", origin.raw),
            account_ref=origin.account_ref,
            occurred_at=origin.at,
            raw=origin.raw,
            address=origin.person[0],
            state="opted_out" if stopped else "opted_in",
            scope=NOTIFICATION_SCOPE,
            reason="notification_messages",
        )


def _told(kind: str) -> Callable[[Origin, dict[str, Any]], Iterator[ChannelEvent]]:
    """Something in the thread that is neither a message nor a receipt: passed on as it is."""

    def read(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
        yield engagement(origin, "other", piece_id(kind, origin.raw), {**body, "kind": kind})

    return read


# ---- what concerns the account

_ENFORCEMENT: dict[str, tuple[Literal["ok", "warning", "blocked"], str]] = {
    "block": ("blocked", "Meta stopped the account from sending."),
    "unblock": ("ok", "Meta lets the account send again."),
    "warning": ("warning", "Meta warned the account of a policy."),
}


def _policy(origin: Origin, body: dict[str, Any]) -> Iterator[ChannelEvent]:
    found = _ENFORCEMENT.get(text(body, "action") or "")
    if found is not None:
        yield AccountUpdate(
            event_id=piece_id("policy", origin.raw),
            account_ref=origin.account_ref,
            occurred_at=origin.at,
            raw=origin.raw,
            topic="policy_enforcement",
            state=found[0],
            detail=found[1],
        )


def _app_roles(origin: Origin, _: dict[str, Any]) -> Iterator[ChannelEvent]:
    yield AccountUpdate(
        event_id=piece_id("app_roles", origin.raw),
        account_ref=origin.account_ref,
        occurred_at=origin.at,
        raw=origin.raw,
        topic="app_roles",
        detail="The apps' roles in the account's threads changed.",
    )


#: What an event is about → how it is read. An event has one of these keys.
READERS: Mapping[str, Callable[[Origin, dict[str, Any]], Iterator[ChannelEvent]]] = {
    "message": _message,
    "message_edit": _edit,
    "delivery": _delivery,
    "read": _read,
    "reaction": _reaction,
    "postback": _postback,
    "referral": _referral,
    "optin": _optin,
    "account_linking": _told("account_linking"),
    "pass_thread_control": _told("pass_thread_control"),
    "take_thread_control": _told("take_thread_control"),
    "request_thread_control": _told("request_thread_control"),
    "policy_enforcement": _policy,
    "app_roles": _app_roles,
}
