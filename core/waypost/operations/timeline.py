"""The timeline: everything that is known of a message, in the order of its recording, as sentences and as data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from waypost.credit import Move
from waypost.history import history
from waypost.lifecycle.evidence import Evidence
from waypost.money import format_amount
from waypost.operations import words
from waypost.operations.credit import shown_entry
from waypost.operations.masking import masked
from waypost.store import events, gateways, ledger, steps
from waypost.store.gateways import Gateway
from waypost.store.messages import Message
from waypost.store.steps import Choice, Step, load_choices

#: Longer provider ids are shortened in sentences; `attempts` has them whole.
LONGEST_ID = 40
#: A provider's word for what happened is shown where it is one.
_WORD = re.compile(r"[\w.-]{1,40}", re.ASCII)

#: What an attempt came to, when several things are known of it: the first of these that is.
_OUTCOMES = ("read", "delivered", "undelivered", "failed", "sent", "not_sent", "unknown", "sending")
_SENTENCES = {
    "queued": "queued",
    "sending": "sending through {gateway}, attempt {attempt}",
    "not_sent": "not sent by {gateway}",
    "unknown": "nobody knows whether {gateway} sent it",
    "sent": "accepted by {gateway}",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "not delivered",
    "failed": "failed",
    "expired": "expired before it could be sent",
    "canceled": "canceled",
    "window_closed": "no further receipt is waited for",
}
_SOURCES = {
    "provider": ", says the provider",
    "lookup": ", says the provider's record",
    "operator": ", by an operator",
    "partner": ", by the partner",
}
_LEDGER_SENTENCES = {
    "hold": "held {amount}",
    "capture": "captured {amount}",
    "release": "released {amount}",
    "late_capture": "captured {amount} after all",
    "refund": "gave back {amount}",
}


@dataclass(frozen=True, slots=True)
class Known:
    """All rows about one message."""

    message: Message
    steps: Sequence[Step]
    evidence: Sequence[Evidence]
    provider_ids: Sequence[tuple[str, str, int, int]]
    channel_events: Sequence[Mapping[str, Any]]
    entries: Sequence[Move]
    gateways: Mapping[str, Gateway]


def load(conn: Connection, message: Message) -> Known:
    """Read all rows about a message."""
    return Known(
        message=message,
        steps=steps.of_messages(conn, [message.id])[message.id],
        evidence=history(conn, message),
        provider_ids=events.provider_ids_of(conn, message.id),
        channel_events=events.channel_events_of(conn, message.id),
        entries=ledger.entries_of_message(conn, message.org_id, message.id),
        gateways={row.id: row for row in gateways.all_of_them(conn)},
    )


def explain(known: Known) -> dict[str, Any]:
    """Why the message is where it is: its steps with prices and choices, attempts, events and money."""
    return {
        "steps": [_step(known, step) for step in known.steps],
        "attempts": _attempts(known),
        "events": [_event(known, item) for item in known.evidence],
        "other_events": [
            {
                "at": words.shown_moment(row["at"]),
                "occurred_at": words.shown_moment(row["occurred_at"]),
                "kind": row["kind"],
                "what": _what(row),
                "gateway": _name(known, row["gateway_id"]),
            }
            for row in known.channel_events
        ],
        "ledger": [shown_entry(entry) for entry in known.entries],
        "timeline": _timeline(known),
    }


def _step(known: Known, step: Step) -> dict[str, Any]:
    choices = load_choices(step.choices)
    return {
        "no": step.step_no,
        "channel": step.channel,
        "status": step.status,
        "state": step.state,
        "gateway": _name(known, step.gateway_id),
        "gateway_id": step.gateway_id,
        "choices": [_choice(known, choice, chosen=number == step.choice) for number, choice in enumerate(choices)],
        "attempts": step.attempt,
        "held": format_amount(step.held),
        "captured": format_amount(step.captured),
        "due_at": words.shown_moment(step.due_at) if step.state == "queued" else None,
        "deadline": words.shown_moment(step.deadline),
        "window_until": words.shown_moment(step.window_until),
        "settled_at": words.shown_moment(step.settled_at),
        "until": step.until,
        "after_seconds": None if step.after is None else step.after // 1_000_000,
    }


def _choice(known: Known, choice: Choice, *, chosen: bool) -> dict[str, Any]:
    return {
        "gateway": _name(known, choice.gateway_id),
        "chosen": chosen,
        "total": format_amount(choice.total),
        "lines": [
            {
                "sku": line.sku,
                "quantity": line.quantity,
                "charge_on": line.charge_on,
                "amount": format_amount(line.amount),
                "rate": line.rate_id,
            }
            for line in choice.lines
        ],
    }


def _attempts(known: Known) -> list[dict[str, Any]]:
    tried = sorted({(item.step_no, item.attempt) for item in known.evidence if item.attempt})
    return [_attempt(known, *key) for key in tried]


def _attempt(known: Known, step_no: int, attempt: int) -> dict[str, Any]:
    own = [item for item in known.evidence if (item.step_no, item.attempt) == (step_no, attempt)]
    kinds = {item.kind for item in own}
    began = next((item.at for item in own if item.kind == "sending"), None)
    answered = next((item.at for item in own if item.kind in ("sent", "not_sent", "unknown", "failed")), None)
    return {
        "step": step_no,
        "attempt": attempt,
        "gateway": _name(known, next((item.gateway_id for item in own if item.gateway_id), None)),
        "provider_ids": _provider_ids(known, step_no, attempt),
        "outcome": next((kind for kind in _OUTCOMES if kind in kinds), "unknown"),
        "codes": [item.code for item in own if item.code],
        "began_at": words.shown_moment(began),
        "answered_at": words.shown_moment(answered),
    }


def _event(known: Known, item: Evidence) -> dict[str, Any]:
    return {
        "at": words.shown_moment(item.at),
        "occurred_at": words.shown_moment(item.occurred_at),
        "step": item.step_no,
        "attempt": item.attempt,
        "kind": item.kind,
        "source": item.source,
        "gateway": _name(known, item.gateway_id),
        "code": item.code,
        "data": item.data,
    }


def _timeline(known: Known) -> list[dict[str, Any]]:
    """Events and money together, in order; at the same moment the event comes before what it moved."""
    lines = [(item.at, 1, number, _event_line(known, item)) for number, item in enumerate(known.evidence)]
    currency = known.message.currency
    for number, entry in enumerate(known.entries):
        sentence = _LEDGER_SENTENCES.get(entry.kind, entry.kind)
        text = sentence.format(amount=f"{format_amount(entry.amount)} {currency}")
        lines.append((entry.at, 0 if entry.kind == "hold" else 2, number, {"step": entry.step_no, "text": text}))
    lines.extend(
        (row["at"], 1, number, {"step": None, "text": f"{_told(row)} from {_name(known, row['gateway_id'])}"})
        for number, row in enumerate(known.channel_events)
    )
    return [{"at": words.shown_moment(at), **line} for at, _, _, line in sorted(lines, key=lambda line: line[:3])]


def _event_line(known: Known, item: Evidence) -> dict[str, Any]:
    gateway = _name(known, item.gateway_id) or "the gateway"
    sentence = "sent" if item.kind == "sent" and item.source != "core" else _SENTENCES[item.kind]
    text = sentence.format(gateway=gateway, attempt=item.attempt)
    if item.code:
        text += f" ({item.code})"
    if item.kind == "sent" and item.source == "core" and (ids := _provider_ids(known, item.step_no, item.attempt)):
        text += f" as {', '.join(map(_shortened, ids))}"
    return {"step": item.step_no, "text": text + _SOURCES.get(item.source, "")}


def _provider_ids(known: Known, step_no: int, attempt: int) -> list[str]:
    """The ids a provider knows an attempt by, without the recipient's address, which some ids hold.

    Those that begin with `@` are our own, for receipts up to a watermark.
    """
    found = [row[1] for row in known.provider_ids if (row[2], row[3]) == (step_no, attempt) and row[1][0] != "@"]
    for _, value in orjson.loads(known.message.addresses):
        found = [provider_id.replace(value, masked(value)) for provider_id in found]
    return found


def _told(row: Mapping[str, Any]) -> str:
    """What else a provider told: `engagement (open)`, `price update`."""
    what = _what(row)
    return f"{_spoken(row['kind'])} ({what})" if what else _spoken(row["kind"])


def _what(row: Mapping[str, Any]) -> str | None:
    """What somebody did with a message, in the provider's word or in ours."""
    if row["kind"] != "Engagement":
        return None
    told = orjson.loads(row["data"])
    detail = told.get("detail")
    detail = detail if isinstance(detail, dict) else {}
    word = detail.get("event") or told.get("action")
    if not isinstance(word, str) or not _WORD.fullmatch(word):
        return None
    return f"{word} of a copy" if detail.get("copy") is True else word


def _spoken(kind: str) -> str:
    """`PriceUpdate` as people say it: `price update`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower()


def _shortened(provider_id: str) -> str:
    return provider_id if len(provider_id) <= LONGEST_ID else f"{provider_id[: LONGEST_ID - 5]}…{provider_id[-4:]}"


def _name(known: Known, gateway_id: str | None) -> str | None:
    gateway = known.gateways.get(gateway_id or "")
    return gateway.name if gateway else gateway_id
