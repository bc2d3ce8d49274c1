"""A message's history: its acceptance, which the message's own row tells, and everything that is stored since."""

from __future__ import annotations

from sqlalchemy import Connection

from waypost.lifecycle.evidence import Evidence, core_key
from waypost.store import events, messages, steps
from waypost.store.messages import Message
from waypost.store.steps import Step, load_choices


def find(conn: Connection, message_id: str, app_id: str) -> tuple[Message, list[Evidence]] | None:
    """A message of this app's own, with its history."""
    message = messages.get(conn, message_id, app_id)
    return (message, history(conn, message)) if message is not None else None


def history(conn: Connection, message: Message) -> list[Evidence]:
    """All that happened to a message, in the order of its recording."""
    first = steps.of_messages(conn, [message.id])[message.id][0]
    return [_accepted(message, first), *events.of_messages(conn, [message.id]).get(message.id, [])]


def _accepted(message: Message, first: Step) -> Evidence:
    """The event that the first step was queued: a row of its own would make accepting dearer and say nothing new."""
    choices = load_choices(first.choices)
    return Evidence(
        message_id=message.id,
        key=core_key(1, 0, "queued"),
        step_no=1,
        attempt=0,
        kind="queued",
        source="core",
        gateway_id=choices[0].gateway_id,
        at=message.created_at,
        data={"channel": first.channel, "gateways": [choice.gateway_id for choice in choices]},
    )
