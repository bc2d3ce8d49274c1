"""The plugin by itself: its connections, its errors, its lines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waypost.host.loader import inspect_plugin
from waypost.plugin import (
    AccountBlocked,
    Address,
    ChannelError,
    ChannelEvent,
    ContentRejected,
    Context,
    DeliveryUpdate,
    InboundMessage,
    InvalidRecipient,
    Location,
    OutboundMessage,
    OutcomeUnknown,
    RateLimited,
    Text,
    Transient,
    UnknownEvent,
    Unsupported,
)
from waypost_line.channel import LineAccount, event_of, line
from waypost_line.simulator import MAGIC, LineSimulator


def message(to: str = "100", **fields: Any) -> OutboundMessage:
    recipient = (Address("line_number", to),)
    return OutboundMessage(**{"channel": "LINES", "recipient": recipient, "content": Text(body="Hello")} | fields)


def test_the_host_takes_the_plugin() -> None:
    plugin = inspect_plugin("line", line)
    assert plugin.info.receives == "listen"
    assert {"listen", "open_account", "close_account"} <= plugin.hooks


async def test_a_message_is_submitted_once(opened: Context, provider: LineSimulator) -> None:
    result = await line.send(opened, message())
    [entry] = provider.journal
    assert (entry.recipient, entry.correlation, entry.fields) == ("100", "msg_1.1.1", {"text": "Hello"})
    assert result.provider_ids == (entry.provider_id,)


async def test_many_at_once_each_get_their_own_answer(opened: Context, provider: LineSimulator) -> None:
    results = await asyncio.gather(*(line.send(opened, message(str(number))) for number in range(100, 120)))
    by_recipient = {entry.recipient: entry.provider_id for entry in provider.journal}
    assert [result.provider_ids[0] for result in results] == [by_recipient[str(number)] for number in range(100, 120)]
    assert provider.binds == ["send"]


@pytest.mark.parametrize(
    ("to", "expected"),
    [("911", InvalidRecipient), ("912", ContentRejected), ("913", RateLimited), ("922", OutcomeUnknown)],
)
async def test_errors(opened: Context, provider: LineSimulator, to: str, expected: type[ChannelError]) -> None:
    with pytest.raises(ChannelError) as raised:
        await line.send(opened, message(to))
    assert type(raised.value) is expected
    assert provider.journal[0].outcome is MAGIC[to]


async def test_a_broken_connection_is_opened_again(opened: Context, provider: LineSimulator) -> None:
    with pytest.raises(OutcomeUnknown):
        await line.send(opened, message("922"))
    assert (await line.send(opened, message())).provider_ids
    assert provider.binds == ["send", "send"]


async def test_nobody_there(opened: Context, unopened: Context, provider: LineSimulator) -> None:
    await provider.stop()
    with pytest.raises(Transient):
        await line.open_account(unopened)


async def test_a_wrong_token_blocks_the_account(unopened: Context, provider: LineSimulator) -> None:
    wrong = LineAccount.model_validate(provider.account_settings() | {"token": "guess"})
    with pytest.raises(AccountBlocked):
        await line.open_account(replace(unopened, account=wrong))


def test_text_only(unopened: Context) -> None:
    with pytest.raises(Unsupported):
        line.price(unopened, message(content=Location(latitude=1, longitude=2)))


async def test_what_is_emitted_is_acknowledged_and_what_is_not_comes_again(
    unopened: Context, provider: LineSimulator
) -> None:
    events: list[ChannelEvent] = []

    async def emit(event: ChannelEvent) -> None:
        events.append(event)
        if len(events) == 1:
            raise ConnectionError("the store is gone")

    await provider.says("Hello", message_id="m-1")
    with pytest.raises(ConnectionError):
        await line.listen(unopened, emit)
    assert provider.unacknowledged == 1
    listening = asyncio.create_task(line.listen(unopened, emit))  # type: ignore[arg-type]
    await provider.until(lambda: provider.unacknowledged == 0)
    await provider.break_connections()
    with pytest.raises(Transient):
        await listening
    assert [event.event_id for event in events] == ["msg.m-1", "msg.m-1"]


def test_lines() -> None:
    inbound = event_of(["MSG", 7, {"id": "m", "from": "100", "to": "555", "text": "Hi", "at": 1_795_000_000}])
    assert isinstance(inbound, InboundMessage)
    assert (inbound.provider_id, inbound.content, inbound.sender[0].value) == ("m", Text(body="Hi"), "100")
    receipt = event_of(["DLR", 8, {"id": "p", "status": "failed", "ref": "msg_1.1.1"}])
    assert isinstance(receipt, DeliveryUpdate)
    assert (receipt.status, receipt.provider_id, receipt.correlation) == ("failed", "p", "msg_1.1.1")
    again = event_of(["DLR", 9, {"id": "p", "status": "failed", "ref": "msg_1.1.1"}])
    assert again.event_id == receipt.event_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "from", "to", "text", "at", "status", "ref"]), inner, max_size=6)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(word=st.sampled_from(["MSG", "DLR", "?"]) | JSON, rest=st.lists(JSON, max_size=3))
def test_no_line_breaks_the_parser(word: Any, rest: list[Any]) -> None:
    event = event_of([word, *rest])
    assert event.event_id == event_of([word, *rest]).event_id
    if word == "?":
        assert isinstance(event, UnknownEvent)
