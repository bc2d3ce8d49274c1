"""A line before and after each send, whatever comes of it; and the rules that any wrapper lives by."""

from __future__ import annotations

import asyncio
import inspect
import json
import stat
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from waypost.host.wrappers import WrapperUnusableError, load_wrappers
from waypost.plugin import (
    ChannelError,
    Context,
    InvalidRecipient,
    OutboundMessage,
    OutcomeUnknown,
    SendCall,
    SendResult,
    Transient,
)
from waypost.plugin.spec import WRAPPERS_GROUP, Proceed
from waypost_audit_trail.trail import Trail
from waypost_audit_trail.wrapper import FILE_VARIABLE, middleware

ENTRY_POINT = metadata.EntryPoint("audit_trail", "waypost_audit_trail.wrapper:audit_trail", WRAPPERS_GROUP)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_send_leaves_two_lines(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, path: Path
) -> None:
    plugin = channel.plugin
    plugin.wrap([middleware(trail)])
    result = await plugin.send(context, message)
    assert result == SendResult(provider_ids=("p-1",))
    begin, end = lines(path)
    common = {"attempt": "msg_1.1.1", "gateway": "gw_1", "plugin": "fake", "channel": "SMS", "kind": "text"}
    assert (begin.pop("at")[-6:], end.pop("at")[-6:]) == ("+00:00", "+00:00")
    assert begin == {"event": "begin", **common}
    assert 0 <= end.pop("ms") < 5000
    assert end == {"event": "end", **common, "outcome": "accepted", "provider_code": None}


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (InvalidRecipient("Nobody there.", provider_code="21211"), "InvalidRecipient", "21211"),
        (Transient(), "Transient", None),
        (OutcomeUnknown(), "OutcomeUnknown", None),
    ],
)
async def test_errors_pass_through(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, path: Path,
    error: ChannelError, outcome: str, code: str | None,
) -> None:  # fmt: skip
    channel.outcome = error
    plugin = channel.plugin
    plugin.wrap([middleware(trail)])
    with pytest.raises(ChannelError) as raised:
        await plugin.send(context, message)
    assert raised.value is error
    assert (lines(path)[1]["outcome"], lines(path)[1]["provider_code"]) == (outcome, code)


async def test_an_undeclared_exception_is_named_by_its_class_only(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, path: Path
) -> None:
    channel.outcome = KeyError("a private word")
    plugin = channel.plugin
    plugin.wrap([middleware(trail)])
    with pytest.raises(OutcomeUnknown):
        await plugin.send(context, message)
    assert lines(path)[1]["outcome"] == "KeyError"


async def test_a_send_that_takes_too_long_has_its_line(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, path: Path
) -> None:
    channel.outcome = asyncio.Event().wait
    plugin = channel.plugin
    plugin.wrap([middleware(trail)])
    with pytest.raises(OutcomeUnknown):
        await plugin.send(context, message)
    assert lines(path)[1]["outcome"] == "cancelled"


async def test_nothing_private_is_written(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, path: Path
) -> None:
    channel.outcome = InvalidRecipient("No +4915112345678 here.")
    plugin = channel.plugin
    plugin.wrap([middleware(trail)])
    with pytest.raises(InvalidRecipient):
        await plugin.send(context, message)
    assert len(lines(path)) == 2
    for word in ("private", "4915112345678", "p-1"):
        assert word not in json.dumps(lines(path))


async def test_no_send_without_its_line(
    channel: Any, context: Context, message: OutboundMessage, tmp_path: Path
) -> None:
    broken = Trail(Path("/dev/full"))
    plugin = channel.plugin
    plugin.wrap([middleware(broken)])
    with pytest.raises(Transient):
        await plugin.send(context, message)
    assert channel.calls == []
    broken.close()


async def test_a_trail_that_breaks_during_the_send_hides_no_outcome(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accepted() -> SendResult:
        monkeypatch.setattr(Trail, "append", _full)
        return SendResult(provider_ids=("p-9",))

    channel.outcome = accepted
    plugin = channel.plugin
    plugin.wrap([middleware(trail)])
    assert (await plugin.send(context, message)).provider_ids == ("p-9",)
    assert log.lines == [{"event": "audit_trail.not_written", "attempt": "msg_1.1.1", "problem": "OSError"}]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_file_only_grows_and_is_its_owners(path: Path) -> None:
    for number in (1, 2):
        opened = Trail(path)
        opened.append({"number": number})
        opened.close()
    assert [line["number"] for line in lines(path)] == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ---- what holds for any wrapper


async def test_who_proceeds_twice_makes_the_outcome_unknown(
    channel: Any, context: Context, message: OutboundMessage
) -> None:
    async def eager(call: SendCall, proceed: Proceed) -> SendResult:
        await proceed(call)
        return await proceed(call)

    plugin = channel.plugin
    plugin.wrap([eager])
    with pytest.raises(OutcomeUnknown) as raised:
        await plugin.send(context, message)
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert raised.value.provider_code == "plugin_fault"
    assert len(channel.calls) == 1


async def test_the_first_wrapper_is_outermost(
    channel: Any, context: Context, message: OutboundMessage, trail: Trail, path: Path
) -> None:
    async def noted(call: SendCall, proceed: Proceed) -> SendResult:
        trail.append({"event": "second before"})
        try:
            return await proceed(call)
        finally:
            trail.append({"event": "second after"})

    plugin = channel.plugin
    plugin.wrap([middleware(trail), noted])
    await plugin.send(context, message)
    assert [line["event"] for line in lines(path)] == ["begin", "second before", "second after", "end"]


def test_it_loads_by_its_entry_point(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    [loaded] = load_wrappers(["audit_trail"], entry_points=[ENTRY_POINT])
    assert inspect.iscoroutinefunction(loaded)
    assert path.exists()


@pytest.mark.parametrize("value", [None, "", "/nowhere/at/all"])
def test_without_a_usable_file_nothing_starts(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(FILE_VARIABLE, value)
    with pytest.raises(WrapperUnusableError, match="audit_trail"):
        load_wrappers(["audit_trail"], entry_points=[ENTRY_POINT])


def test_an_enabled_wrapper_that_is_missing_refuses_to_start() -> None:
    with pytest.raises(WrapperUnusableError, match="audit_trail: no installed distribution provides it"):
        load_wrappers(["audit_trail"], entry_points=[])
