"""Fields about the account itself: templates, quality, restrictions, and people's consent to marketing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from waypost.plugin import AccountUpdate, ChannelEvent, ConsentChange, TemplateUpdate
from waypost_meta_graph import piece_id
from waypost_meta_graph.pieces import child, items, moment_at, text

from waypost_whatsapp.addresses import person
from waypost_whatsapp.change import Change

State = Literal["ok", "warning", "blocked", "info"]

_CONSENT: Mapping[str, Literal["opted_out", "opted_in"]] = {
    "stop": "opted_out",
    "resume": "opted_in",
    "signup": "opted_in",
}
_SCOPES: Mapping[str, str] = {"marketing_messages": "marketing"}

#: What an event means for sending. Source: Meta, webhook references of the fields named here.
_QUALITY: Mapping[str, State] = {"FLAGGED": "warning", "DOWNGRADE": "warning", "UNFLAGGED": "ok", "UPGRADE": "ok"}
_BANS: Mapping[str, State] = {"DISABLE": "blocked", "SCHEDULE_FOR_DISABLE": "warning", "REINSTATE": "ok"}
_ACCOUNT: Mapping[str, State] = {
    "ACCOUNT_DELETED": "blocked",
    "DISABLED_UPDATE": "blocked",
    "ACCOUNT_RESTRICTION": "warning",
    "ACCOUNT_VIOLATION": "warning",
    "VERIFIED_ACCOUNT": "ok",
}
_REVIEWS: Mapping[str, State] = {"APPROVED": "ok", "REJECTED": "warning"}


def _template(change: Change) -> Iterator[ChannelEvent]:
    value = change.value
    template_id = text(value, "message_template_id")
    name = text(value, "message_template_name") or ""
    if template_id is None and not name:
        return
    category = text(value, "new_category") or text(value, "message_template_category")
    yield TemplateUpdate(
        event_id=piece_id("template", value, change.field, change.stamp),
        account_ref=change.account_ref,
        occurred_at=change.occurred_at,
        raw={"field": change.field, "value": value},
        template_id=template_id or name,
        name=name,
        language=text(value, "message_template_language"),
        status=_lower(text(value, "event")),
        category=_lower(category),
        quality=_lower(text(value, "new_quality_score")),
        reason=text(value, "reason"),
    )


def _lower(word: str | None) -> str | None:
    return word.lower() if word else None


def _preferences(change: Change) -> Iterator[ChannelEvent]:
    for piece in items(change.value, "user_preferences"):
        addresses = person((piece, "wa_id"), (piece, "user_id"))
        value = text(piece, "value") or ""
        state = _CONSENT.get(value)
        if not addresses or state is None:
            yield change.unknown("a preference that is not known", piece)
            continue
        category = text(piece, "category") or "all"
        yield ConsentChange(
            event_id=piece_id("consent", piece, change.account_ref),
            account_ref=change.account_ref,
            occurred_at=moment_at(piece) or change.occurred_at,
            raw=piece,
            address=addresses[0],
            state=state,
            scope=_SCOPES.get(category, category),
            reason=value,
        )


def _account_state(change: Change) -> State:
    value = change.value
    if change.field == "account_alerts":
        return "warning"
    event = text(value, "event") or text(value, "decision") or ""
    if change.field == "phone_number_quality_update":
        return _QUALITY.get(event, "info")
    if change.field == "account_review_update":
        return _REVIEWS.get(event, "info")
    ban = _BANS.get(text(child(value, "ban_info"), "waba_ban_state") or "")
    return ban or (_ACCOUNT.get(event, "info") if change.field == "account_update" else "info")


def _account(change: Change) -> Iterator[ChannelEvent]:
    facts = (text(change.value, key) for key in ("event", "decision", "current_limit", "alert_type"))
    yield AccountUpdate(
        event_id=piece_id("account", change.value, change.field, change.waba_id, change.stamp),
        account_ref=change.account_ref,
        occurred_at=change.occurred_at,
        raw={"field": change.field, "value": change.value},
        topic=change.field,
        state=_account_state(change),
        detail=" ".join(fact for fact in facts if fact),
    )


FIELD_READERS: Mapping[str, Callable[[Change], Iterator[ChannelEvent]]] = {
    "message_template_status_update": _template,
    "message_template_quality_update": _template,
    "template_category_update": _template,
    "user_preferences": _preferences,
    "phone_number_quality_update": _account,
    "phone_number_name_update": _account,
    "account_update": _account,
    "account_alerts": _account,
    "account_review_update": _account,
    "business_capability_update": _account,
    "security": _account,
}
