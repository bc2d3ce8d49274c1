"""Plugins that raise, lie, hang or do not let go: their sends become unknown, the other channel goes on."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_channel import FakeChannel
from waypost.host import deadlines, dispatch
from waypost.host.dispatch import PluginFaultError
from waypost.plugin import NotSent, SendResult
from waypost.plugin.spec import ChannelSpec
from waypost.refusals import Unavailable
from world import OpenWorld


class Refused(BaseException):
    """What no `except Exception` takes; a plugin's library may have one."""


class Stubborn:
    """A send that swallows every cancellation until it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.canceled = 0
        self.swallowed = asyncio.Event()

    async def __call__(self, ctx: object, message: object) -> SendResult:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.canceled += 1
                self.swallowed.set()
        return SendResult(provider_ids=("late",))


async def hang(ctx: object, message: object) -> SendResult:
    await asyncio.Event().wait()
    return SendResult()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(deadlines, "GRACE", 0.05)
    monkeypatch.setattr(dispatch, "HOOK_DEADLINE", 0.05)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (ZeroDivisionError("canary"), "ZeroDivisionError"),
        (SystemExit(1), "SystemExit"),
        (Refused("canary"), "Refused"),
        (asyncio.CancelledError(), "canceled itself"),
        ({"provider_id": "canary"}, "dict"),
        (None, "NoneType"),
        (hang, "0.05 s"),
        (Stubborn, "0.05 s"),
    ],
    ids=["raises", "exits", "refuses", "cancels", "lies", "forgets", "hangs", "stubborn"],
)
async def test_its_send_is_unknown_and_the_other_channel_delivers(
    open_world: OpenWorld, hasty: None, heard: Any, outcome: Any, told: str
) -> None:
    outcome = outcome() if isinstance(outcome, type) else outcome
    bad = FakeChannel("bad", "SMS", info={"send_timeout": 0.05}).on("*", outcome)
    world = await open_world(bad, FakeChannel("calm", "WHATSAPP"))
    partner = await world.partner()
    await world.start()
    unknown = [await world.accept(partner) for _ in range(5)]
    calm = [await world.accept(partner, channel="WHATSAPP") for _ in range(5)]
    for admitted in calm:
        await world.status(admitted, "SENT")
    for admitted in unknown:
        await world.status(admitted, "UNKNOWN")
    assert len(bad.sent) == len(unknown), "an unknown outcome is never sent again"
    history = await world.events(unknown[0].message.id)
    (event,) = [item for item in history if item.kind == "unknown"]
    assert told in str(event.data)
    assert "canary" not in str(event.data) + str(heard.lines)
    if isinstance(outcome, Stubborn):
        assert b'waypost_plugin_abandoned_total{plugin="bad"} 5.0' in world.node.metrics.exposition()
        assert {(line["plugin"], line["hook"]) for line in heard.of("plugin.does_not_stop")} == {("bad", "send")}
        outcome.let_go.set()


def _explode(fault: Any) -> Any:
    if isinstance(fault, BaseException):
        raise fault
    return fault


@pytest.mark.parametrize(
    "fault",
    [SystemExit(1), Refused("canary"), asyncio.CancelledError(), ZeroDivisionError("canary"), None, 7],
    ids=repr,
)
async def test_a_price_that_fails_refuses_its_channel_only(open_world: OpenWorld, fault: Any) -> None:
    world = await open_world(FakeChannel("bad", "SMS"), FakeChannel("calm", "WHATSAPP"))
    world.node.plugins["bad"]._call["price"] = lambda **_: _explode(fault)
    partner = await world.partner()
    await world.start()
    with pytest.raises(Unavailable) as refused:
        await world.accept(partner)
    assert "canary" not in str(refused.value)
    await world.status(await world.accept(partner, channel="WHATSAPP"), "SENT")


# ---- what every hook may raise


def raising(hook: str, fault: BaseException) -> Any:
    """A plugin one of whose hooks raises this, behind the host's dispatch."""
    plugin = FakeChannel().plugin
    plugin.hooks |= {hook}
    awaited = inspect.iscoroutinefunction(getattr(ChannelSpec, hook))

    async def later(**_: object) -> None:
        raise fault

    plugin._call[hook] = later if awaited else lambda **_: _explode(fault)
    return plugin


async def ask(plugin: Any, hook: str) -> Any:
    """Call a hook with whatever it wants."""
    answer = getattr(plugin, hook)(*[None] * len(inspect.signature(getattr(plugin, hook)).parameters))
    return await answer if inspect.isawaitable(answer) else answer


#: Every hook but those that are tested above and, because the loader asks it, with the loader.
HOOKS = sorted(name for name in vars(ChannelSpec) if not name.startswith("_") and name not in ("channel_info", "send"))
#: Those that no task of asyncio's is around: it would end the loop when it is interrupted.
IN_NO_TASK = [name for name in HOOKS if name == "listen" or not inspect.iscoroutinefunction(getattr(ChannelSpec, name))]


@pytest.mark.parametrize("fault", [Refused("canary"), SystemExit(1), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("hook", HOOKS)
async def test_whatever_a_hook_raises_is_its_plugins_fault(hook: str, fault: BaseException) -> None:
    with pytest.raises(PluginFaultError) as caught:
        await ask(raising(hook, fault), hook)
    assert caught.value.hook == hook
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("hook", IN_NO_TASK)
async def test_an_interrupt_goes_through(hook: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        await ask(raising(hook, KeyboardInterrupt()), hook)


async def test_a_listener_that_is_told_to_end_ends() -> None:
    plugin = FakeChannel().plugin
    begun = asyncio.Event()

    async def listen(**_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    plugin._call["listen"] = listen
    listening = asyncio.ensure_future(plugin.listen(None, None))  # type: ignore[arg-type]
    await begun.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_templates_of_another_type_are_a_fault() -> None:
    plugin = FakeChannel().plugin

    async def list_templates(**_: object) -> list[str]:
        return ["hello"]

    plugin._call["list_templates"] = list_templates
    with pytest.raises(PluginFaultError, match="list_templates returned a str"):
        await plugin.list_templates(None)  # type: ignore[arg-type]


# ---- the bounds of a call

MESSAGE: Any = type("M", (), {"recipient": [type("A", (), {"value": "x"})]})


async def test_a_canceled_call_cancels_its_hook(hasty: None) -> None:
    ended = asyncio.Event()

    async def send(ctx: object, message: object) -> SendResult:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return SendResult()

    channel = FakeChannel().on("*", send)
    call = asyncio.ensure_future(channel.plugin.send(None, MESSAGE))  # type: ignore[arg-type]
    await channel.called(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


async def test_a_canceled_call_does_not_wait_for_ever(hasty: None) -> None:
    stubborn = Stubborn()
    channel = FakeChannel().on("*", stubborn)
    call = asyncio.ensure_future(channel.plugin.send(None, MESSAGE))  # type: ignore[arg-type]
    await channel.called(1)
    call.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - began < 5
    assert stubborn.canceled == 1
    stubborn.let_go.set()
    await asyncio.sleep(0)


async def test_what_is_abandoned_is_kept_until_it_ends(hasty: None) -> None:
    stubborn = Stubborn()
    plugin = FakeChannel(info={"send_timeout": 0.01}).on("*", stubborn).plugin
    with pytest.raises(Exception, match="did not answer"):
        await plugin.send(None, MESSAGE)  # type: ignore[arg-type]
    (task,) = [task for task in asyncio.all_tasks() if plugin.runs(task)]
    assert plugin.runs(task)
    stubborn.let_go.set()
    await task
    await asyncio.sleep(0)
    assert not plugin.runs(task)


async def test_one_that_is_overdue_is_named_even_if_nobody_waits_any_more(hasty: None) -> None:
    stubborn = Stubborn()
    bounds = deadlines.Deadlines("bad")
    named: list[str] = []
    bounds.on_abandoned = named.append
    call = asyncio.ensure_future(bounds.bounded("send", stubborn(None, MESSAGE), 0.01))
    await stubborn.swallowed.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert named == ["send"]
    stubborn.let_go.set()
    await asyncio.sleep(0)


async def test_an_answer_that_comes_in_the_grace_counts(hasty: None) -> None:
    """The provider has taken it: to forget that would be worse than to be late."""

    async def send(ctx: object, message: object) -> SendResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return SendResult(provider_ids=("just-in-time",))
        raise NotSent

    plugin = FakeChannel(info={"send_timeout": 0.01}).on("*", send).plugin
    assert (await plugin.send(None, MESSAGE)).provider_ids == ("just-in-time",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behave", "told"),
    [
        (lambda: asyncio.Event().wait(), "took longer"),
        (lambda: _raises(SystemExit(1)), "raised SystemExit"),
        (lambda: _raises(asyncio.CancelledError()), "canceled itself"),
        (lambda: _raises(ZeroDivisionError("canary")), "raised ZeroDivisionError"),
    ],
)
async def test_other_hooks_are_bounded_alike(hasty: None, behave: Callable[[], Any], told: str) -> None:
    channel = FakeChannel(hooks=frozenset({"check_account"}))
    plugin = channel.plugin
    plugin._call["check_account"] = lambda ctx: behave()
    with pytest.raises(PluginFaultError, match=told):
        await plugin.check_account(None)  # type: ignore[arg-type]


async def _raises(error: BaseException) -> None:
    raise error


async def test_nobody_closes_what_all_send_through(open_world: OpenWorld, heard: Any) -> None:
    async def tidy(ctx: Any, message: object) -> SendResult:
        async with ctx.http:
            pass
        return SendResult(provider_ids=("x",))

    bad = FakeChannel("bad", "SMS").on("*", tidy)
    world = await open_world(bad, FakeChannel("calm", "WHATSAPP"))
    partner = await world.partner()
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    assert not world.node.http.closed
    (line,) = [line for line in heard.lines if line["event"] == "plugin.send_failed"]
    assert "tidy" in str(line["cause"])
