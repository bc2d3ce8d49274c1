"""A plugin that blocks the event loop is named while it does, disabled after three times, and nobody else is."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_channel import FakeChannel
from waypost.plugin import SendResult
from waypost.refusals import Unavailable
from waypost_server.rest.health import Health
from world import OpenWorld, World

#: The longest that naming may take, in seconds.
NAMED_WITHIN = 1.0
BLOCKS = "plugin.blocks_loop"


def blocks_until_named(heard: Any) -> Callable[..., Any]:
    """A send that blocks until it is named, or for a second."""

    async def send(ctx: object, message: object) -> SendResult:
        heard.wait_for(BLOCKS, len(heard.of(BLOCKS)) + 1, NAMED_WITHIN)
        return SendResult(provider_ids=(f"p-{len(heard.lines)}",))

    return send


@pytest.fixture
async def two(open_world: OpenWorld) -> World:
    return await open_world(FakeChannel("greedy", "SMS"), FakeChannel("calm", "WHATSAPP"))


async def readyz(world: World) -> Any:
    answer = await Health(world.node).ready(None)  # type: ignore[arg-type]
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


async def ticks(world: World, times: int = 6) -> None:
    """Let the loop turn, so that a block that just ended would have been named by now."""
    for _ in range(times):
        await asyncio.sleep(0.05)


async def block_three_times(world: World, heard: Any, partner: Any) -> list[Any]:
    world.channels["greedy"].on("*", blocks_until_named(heard))
    sent = []
    for number in range(1, 4):
        sent.append(await world.accept(partner))
        await world.status(sent[-1], "SENT")
        assert len(heard.of(BLOCKS)) == number
        await ticks(world, 2)
    return sent


async def test_a_block_is_named_within_a_second_and_once(two: World, heard: Any) -> None:
    partner = await two.partner()
    two.channels["greedy"].on("*", blocks_until_named(heard))
    await two.start()
    began = time.monotonic()
    await two.status(await two.accept(partner), "SENT")
    assert time.monotonic() - began < NAMED_WITHIN + 1
    await ticks(two)
    (line,) = heard.of(BLOCKS)
    assert (line["plugin"], line["level"]) == ("greedy", "error")
    assert 0.25 <= line["seconds"] < NAMED_WITHIN
    assert line["at"].startswith("fake_channel.py:")
    assert line["at"].endswith(" send")
    assert b'waypost_plugin_blocks_total{plugin="greedy"} 1.0' in two.node.metrics.exposition()
    assert two.node.records["greedy"].state == "loaded"


async def test_after_three_blocks_it_is_disabled_and_the_others_go_on(two: World, heard: Any) -> None:
    partner = await two.partner()
    await two.start()
    waiting_before = await two.accept(partner, channel="WHATSAPP")
    await block_three_times(two, heard, partner)
    record = two.node.records["greedy"]
    assert record.state == "disabled"
    assert "blocked the event loop 3 times" in record.reason
    assert "--role worker --channels greedy" in record.reason
    (line,) = heard.of("plugin.disabled")
    assert (line["plugin"], line["level"], line["reason"]) == ("greedy", "critical", record.reason)
    status, body = await readyz(two)
    assert status == 200
    assert body["plugins"] == {
        "greedy": {"state": "disabled", "reason": record.reason},
        "calm": {"state": "loaded", "reason": ""},
    }
    metrics = two.node.metrics.exposition()
    assert b'waypost_plugin_loaded{plugin="greedy",state="disabled"} 0.0' in metrics
    assert b'plugin="greedy",state="loaded"' not in metrics
    with pytest.raises(Unavailable):
        await two.accept(partner)
    await two.status(waiting_before, "SENT")
    await two.status(await two.accept(partner, channel="WHATSAPP"), "SENT")


async def test_what_is_queued_for_a_disabled_plugin_waits(two: World, heard: Any) -> None:
    partner = await two.partner()
    queued = await two.accept(partner)
    plugin = two.node.plugins["greedy"]
    two.node.disable_plugin(plugin, "it is tested")
    await two.start()
    await two.status(await two.accept(partner, channel="WHATSAPP"), "SENT")
    await two.rest()
    assert (await two.message(queued.message.id)).status == "QUEUED"
    assert two.channels["greedy"].sent == []


async def test_webhooks_for_a_disabled_plugin_are_to_come_again(two: World, heard: Any) -> None:
    partner = await two.partner()
    greedy, calm = (two.channels[name] for name in ("greedy", "calm"))
    two.node.disable_plugin(two.node.plugins["greedy"], "it is tested")
    receive = two.node.inbox.receive
    assert (await receive(greedy.tells(), plugin="greedy", gateway=partner.gateways[0].id)).status == 503
    assert (await receive(greedy.tells(), plugin="greedy")).status == 503
    assert (await receive(greedy.tells())).status == 503
    assert (await receive(calm.tells(), plugin="calm", gateway=partner.gateways[1].id)).status == 200
    assert greedy.verifications == 0


async def test_a_pure_hook_that_blocks_is_named(two: World, heard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("greedy_pricing")
    source = "def price(ctx, message):\n    wait()\n    return quote\n"
    module.__dict__.update(wait=lambda: heard.wait_for(BLOCKS, 1, NAMED_WITHIN), quote=two.channels["greedy"].quote)
    exec(compile(source, "greedy_pricing.py", "exec"), module.__dict__)
    plugin = two.node.plugins["greedy"]
    monkeypatch.setitem(plugin._call, "price", module.price)
    monkeypatch.setitem(two.node.watchdog._owners, "greedy_pricing", (plugin,))
    partner = await two.partner()
    await two.start()
    await ticks(two, 2)
    await two.accept(partner)
    assert [(line["plugin"], line["at"]) for line in heard.of(BLOCKS)] == [("greedy", "greedy_pricing.py:2 price")]


async def test_of_two_plugins_in_one_package_the_one_that_was_asked_is_named(two: World, heard: Any) -> None:
    """Both fakes are written in one module; only the host's own frame says whose price this is."""
    partner = await two.partner()

    class Slow:
        def __init__(self, quote: object) -> None:
            self.quote = quote

        def __get__(self, owner: object, kind: type) -> object:
            heard.wait_for(BLOCKS, 1, NAMED_WITHIN)
            return self.quote

    quote = two.channels["greedy"].quote
    greedy = type("Greedy", (FakeChannel,), {"quote": Slow(quote), "__module__": FakeChannel.__module__})
    two.channels["greedy"].__class__ = greedy
    del two.channels["greedy"].__dict__["quote"]
    await two.start()
    await ticks(two, 2)
    await two.accept(partner)
    assert [line["plugin"] for line in heard.of(BLOCKS)] == ["greedy"]


def seconds_of_work(seconds: float) -> int:
    """How far a sum goes that holds the interpreter for so long."""
    count = 1_000_000
    while True:
        began = time.thread_time()
        sum(range(count))
        spent = time.thread_time() - began
        if spent > 0.05:
            return int(count * seconds / spent)
        count *= 2


async def test_a_block_that_holds_the_interpreter_is_named_too(two: World, heard: Any) -> None:
    """Another thread may get the interpreter first when the call ends, and the block then goes unseen: so, several."""
    count = seconds_of_work(0.6)

    async def send(ctx: object, message: object) -> SendResult:
        sum(range(count))  # one call of C: no other thread runs meanwhile
        return SendResult(provider_ids=("p-1",))

    two.channels["greedy"].on("*", send)
    partner = await two.partner()
    await two.start()
    for _ in range(12):
        await two.status(await two.accept(partner), "SENT")
        await ticks(two)
        if heard.of(BLOCKS):
            break
    assert {line["plugin"] for line in heard.of(BLOCKS)} == {"greedy"}


async def test_short_blocks_and_blocks_outside_plugins_are_only_measured(two: World, heard: Any) -> None:
    async def send(ctx: object, message: object) -> SendResult:
        time.sleep(0.1)  # noqa: ASYNC251 - it blocks
        return SendResult(provider_ids=("p-1",))

    two.channels["greedy"].on("*", send)
    partner = await two.partner()
    await two.start()
    await two.status(await two.accept(partner), "SENT")
    await ticks(two, 2)
    time.sleep(0.5)  # noqa: ASYNC251 - this test is nobody's plugin
    await ticks(two)
    assert heard.of(BLOCKS) == []
    counted = two.node.metrics.registry.get_sample_value
    late = (counted("waypost_event_loop_lag_seconds_count") or 0) - (
        counted("waypost_event_loop_lag_seconds_bucket", {"le": "0.25"}) or 0
    )
    assert late >= 1


async def test_a_busy_loop_without_one_long_call_blames_nobody(two: World, heard: Any) -> None:
    """Many short sends in one turn of the loop keep it from ticking; none of them is the culprit."""

    async def send(ctx: object, message: object) -> SendResult:
        time.sleep(0.03)  # noqa: ASYNC251 - it blocks
        return SendResult(provider_ids=(f"p-{id(ctx)}",))

    two.channels["greedy"].on("*", send)
    await two.start()
    plugin = two.node.plugins["greedy"]
    message: Any = type("M", (), {"recipient": [type("A", (), {"value": "x"})]})
    await ticks(two, 2)
    await asyncio.gather(*(plugin.send(None, message) for _ in range(20)))  # type: ignore[arg-type]
    await ticks(two)
    assert heard.of(BLOCKS) == []
