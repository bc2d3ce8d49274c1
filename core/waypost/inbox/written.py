"""What people wrote to us, changed and took back, in whatever order and however often we hear of it.

A change may come before the message: then it is stored in the message's place, which the message fills up and does
not replace. What was taken back stays so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection

from waypost.clock import from_datetime
from waypost.event_codec import dump_json
from waypost.ids import new_id
from waypost.inbox.placement import Placed
from waypost.log import logger
from waypost.plugin.events import ChannelEvent, Engagement, InboundMessage
from waypost.store import inbound
from waypost.store.inbound import Inbound

_LOG = logger()

#: The content of a message that was taken back.
ERASED = "{}"


def apply(conn: Connection, placed: Sequence[Placed], now: int) -> list[Inbound]:
    """Store what is new, change what was changed, and note who wrote when; return the new messages."""
    rows = [_row(event, item, now) for event, item in _messages(placed) if event.change == "new"]
    new = inbound.add_new(conn, rows) if rows else []
    came = {(row.gateway_id, row.provider_id) for row in new} | _fill_up(conn, rows, new)
    for item in placed:
        event = item.event
        if not isinstance(event, InboundMessage | Engagement) or _is_told_again(item, came):
            continue
        if opens_the_window(event):
            people = [address.value for address in event.sender]
            if item.hidden:
                people.append(inbound.HIDDEN)
            for gateway in item.told:
                inbound.note_inbound(conn, gateway.id, people, moment(item, now), now)
    # Only now: what is changed may have come in this very batch.
    return new + _change(conn, [(event, item) for event, item in _messages(placed) if event.change != "new"], now)


def _is_told_again(item: Placed, came: set[tuple[str, str]]) -> bool:
    """Whether a message was known already, and its provider does not say that it was written long ago."""
    event = item.event
    if not isinstance(event, InboundMessage) or event.change != "new" or event.occurred_at is not None:
        return False
    pair = (item.told[0].id, event.provider_id) if item.told else None
    if pair is None:
        return False
    is_first = pair in came
    came.discard(pair)  # it may have come twice in one batch
    return not is_first


def _messages(placed: Sequence[Placed]) -> list[tuple[InboundMessage, Placed]]:
    return [(item.event, item) for item in placed if isinstance(item.event, InboundMessage) and item.told]


def opens_the_window(event: ChannelEvent) -> bool:
    """Whether it counts as the person's having written."""
    if isinstance(event, Engagement):
        return event.action in ("postback", "referral")
    return isinstance(event, InboundMessage) and event.change != "unsend"


def is_dated_by_hearing(event: ChannelEvent) -> bool:
    """Whether it counts from when we heard of it: then each time that it is told would be a later one."""
    if event.occurred_at is not None:
        return False
    # A new message is known by its own id.
    return opens_the_window(event) and not (isinstance(event, InboundMessage) and event.change == "new")


def moment(item: Placed, now: int) -> int:
    """When it happened, as far as the provider says; not after we heard of it, however late it is applied."""
    heard = now if item.heard_at is None else min(item.heard_at, now)
    return min(from_datetime(item.event.occurred_at), heard) if item.event.occurred_at else heard


def _row(event: InboundMessage, item: Placed, now: int) -> Inbound:
    gateway = item.told[0]
    return Inbound(
        id=new_id("in"),
        gateway_id=gateway.id,
        provider_id=event.provider_id,
        app_id=gateway.app_id,
        channel=gateway.channel,
        sender=_addresses(event),
        recipient=orjson.dumps([event.recipient.kind, event.recipient.value]).decode(),
        content=ERASED if event.change == "unsend" else dump_json(_content(event)),
        sender_name=event.sender_name,
        reply_to=event.reply_to,
        received_at=now,
        occurred_at=from_datetime(event.occurred_at) if event.occurred_at else None,
        unsent=event.change == "unsend",
        edited_at=moment(item, now) if event.change == "edit" else None,
        awaited=event.change != "new",
    )


def _content(event: InboundMessage) -> dict[str, Any]:
    content = event.content.model_dump(mode="json", exclude_none=True)
    if event.more:
        content["more"] = [item.model_dump(mode="json", exclude_none=True) for item in event.more]
    return content


def _fill_up(conn: Connection, rows: Sequence[Inbound], new: Sequence[Inbound]) -> set[tuple[str, str]]:
    """Give messages whose change came first what only the message itself says; return their (gateway, provider id)."""
    stored_now = {row.id for row in new}
    late = {(row.gateway_id, row.provider_id): row for row in rows if row.id not in stored_now}
    if not late:
        return set()
    filled = []
    for pair, row in inbound.known(conn, late.keys()).items():
        said = late[pair]
        if not row.awaited:
            continue
        # All but what was changed is as it would be had the message come first.
        said = replace(said, id=row.id, received_at=row.received_at)
        if not _is_by(row.sender, said.sender):
            # Whoever changed it first had not written it.
            _LOG.warning("inbound.changed_by_another", gateway=row.gateway_id, message=row.id)
        else:
            content = row.content if row.unsent else dump_json(_with_more(orjson.loads(row.content), said.content))
            said = replace(said, content=content, unsent=row.unsent, edited_at=row.edited_at)
        filled.append(said)
    inbound.save(conn, filled)
    return {(row.gateway_id, row.provider_id) for row in filled}


def _change(conn: Connection, changes: Sequence[tuple[InboundMessage, Placed]], now: int) -> list[Inbound]:
    """Apply edits and unsends; return what was not known before."""
    if not changes:
        return []
    known = inbound.known(conn, {(item.told[0].id, event.provider_id) for event, item in changes})
    before = dict(known)
    for event, item in changes:
        pair = (item.told[0].id, event.provider_id)
        row = known.get(pair)
        known[pair] = _row(event, item, now) if row is None else _changed(row, event, moment(item, now))
    inbound.save(conn, [row for pair, row in known.items() if pair in before and row != before[pair]])
    return inbound.add_new(conn, [row for pair, row in known.items() if pair not in before])


def _changed(row: Inbound, event: InboundMessage, at: int) -> Inbound:
    """A message after a change: the latest counts, and nothing comes after it was taken back."""
    if row.unsent:
        return row
    if not _is_by(row.sender, _addresses(event)):
        _LOG.warning("inbound.changed_by_another", gateway=row.gateway_id, message=row.id)
        return row
    if event.change == "unsend":
        return replace(row, content=ERASED, unsent=True)
    if row.edited_at is not None and row.edited_at > at:
        return row
    return replace(row, content=dump_json(_with_more(_content(event), row.content)), edited_at=at)


def _addresses(event: InboundMessage) -> str:
    return orjson.dumps([[address.kind, address.value] for address in event.sender]).decode()


def _is_by(one: str, other: str) -> bool:
    """Whether two things that were said come from one person, as far as both say."""
    wrote = {value for _, value in orjson.loads(one)}
    changed = {value for _, value in orjson.loads(other)}
    return not wrote or not changed or not wrote.isdisjoint(changed)


def _with_more(content: dict[str, Any], other: str) -> dict[str, Any]:
    """The content with the further media of another, where it has none itself: an edit tells of the text only."""
    more = orjson.loads(other).get("more")
    return {**content, "more": more} if more and "more" not in content else content
