"""What plugins declare and answer is held to its types at once: later it would be others' trouble."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal

import pytest
from fake_channel import FakeChannel, FakeSettings
from pydantic import BaseModel, ConfigDict, model_validator
from waypost.host.dispatch import PluginFaultError
from waypost.host.loader import RulesBrokenError, inspect_plugin
from waypost.operations import credentials
from waypost.operations.errors import InvalidArgumentError
from waypost.plugin import (
    Address,
    Content,
    DeliveryUpdate,
    OutcomeUnknown,
    Permanent,
    Quote,
    QuoteLine,
    RateLimited,
    SecretStr,
    SendResult,
    Settings,
)
from waypost.refusals import Unavailable
from world import TO, OpenWorld, World


class _Login(BaseModel):
    user: str = ""
    password: SecretStr = SecretStr("")


class Nested(FakeSettings):
    """A secret where nobody would look for it."""

    logins: dict[str, _Login] = {}  # noqa: RUF012 - pydantic copies defaults


class Forward(FakeSettings):
    """An annotation that nobody knows."""

    peer: "Nobody | None" = None  # type: ignore[name-defined]  # noqa: F821, UP037


class Thing:
    """Nothing that JSON knows."""


class Odd(Content):
    """A content kind with a field that no schema can be made of."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kind: Literal["fake.odd"] = "fake.odd"
    thing: Thing | None = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel", None), ("channel", 7), ("channel", "sms"), ("channel", ""), ("channel", "A B"),
        ("channel", "A" * 300), ("features", None), ("content_kinds", None), ("content_kinds", frozenset({1})),
        ("content_models", None), ("content_models", (Settings,)), ("content_models", (Odd,)), ("address_kinds", ()),
        ("address_kinds", None), ("send_timeout", "30"), ("send_timeout", math.nan), ("send_timeout", math.inf),
        ("send_timeout", 0), ("last_receipt", "seen"), ("webhook_scope", "galaxy"), ("receives", "pigeons"),
        ("idempotent_for", -1), ("limits", None), ("webhook_ack", 200), ("account_settings", dict),
        ("account_settings", Nested), ("account_settings", Forward), ("provider_app_settings", None),
        ("examples", None), ("title", None), ("account_ref_field", 7),
    ],
    ids=repr,
)  # fmt: skip
def test_a_wrong_declaration_is_refused_with_the_fields_name(field: str, value: object) -> None:
    with pytest.raises(RulesBrokenError) as refused:
        inspect_plugin("fake", FakeChannel(info={field: value}))
    assert f"channel_info().{field}" in str(refused.value)


@pytest.mark.parametrize(
    "lines",
    [
        (QuoteLine("unit", 0.1),), (QuoteLine("unit", True),), (QuoteLine("unit", -5),), (QuoteLine("unit", 10**30),),  # type: ignore[arg-type]
        (QuoteLine("unit", charge_on="read"),), (QuoteLine(None),), ("unit",), [QuoteLine("unit")], None,  # type: ignore[arg-type]
    ],
    ids=repr,
)  # fmt: skip
async def test_a_quote_that_is_none_costs_nobody_anything(world: World, heard: Any, lines: Any) -> None:
    partner = await world.partner()
    world.channel.quote = Quote(lines)
    with pytest.raises(Unavailable):
        await world.accept(partner)
    assert (await world.balance(partner.org)).held == 0
    (line,) = [line for line in heard.lines if line["event"] == "plugin.failed"]
    assert (line["plugin"], line["hook"]) == ("fake", "price")


@pytest.mark.parametrize(
    "result",
    [
        SendResult(provider_ids="abc"), SendResult(provider_ids=(42,)), SendResult(provider_ids=("\ud800",)),  # type: ignore[arg-type]
        SendResult(provider_ids=("a\0b",)), SendResult(provider_ids=("",)), SendResult(provider_ids=None),  # type: ignore[arg-type]
        SendResult(status="delivered"),  # type: ignore[arg-type]
    ],
    ids=repr,
)  # fmt: skip
async def test_a_result_that_cannot_be_stored_is_unknown_at_once(world: World, heard: Any, result: Any) -> None:
    partner = await world.partner()
    world.channel.on(TO, result)
    await world.start()
    admitted = await world.accept(partner)
    await world.status(admitted, "UNKNOWN")
    (event,) = [item for item in await world.events(admitted.message.id) if item.kind == "unknown"]
    assert event.data["provider_code"] == "plugin_fault"
    assert [line["plugin"] for line in heard.lines if line["event"] == "plugin.send_failed"] == ["fake"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RateLimited(retry_after=math.nan), "QUEUED"),
        (RateLimited(retry_after="soon"), "QUEUED"),  # type: ignore[arg-type]
        (RateLimited(retry_after=10**400), "QUEUED"),
        (Permanent("no \ud800\0", provider_code=7, http_status="x"), "FAILED"),  # type: ignore[arg-type]
        (OutcomeUnknown(["?"], provider_code={}), "UNKNOWN"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
async def test_an_error_with_odd_particulars_is_that_error(world: World, error: Exception, status: str) -> None:
    partner = await world.partner()
    world.channel.on(TO, error)
    await world.start()
    admitted = await world.accept(partner)
    await world.channel.called(1)
    await world.state(admitted, "queued" if status == "QUEUED" else "ended" if status == "FAILED" else "unknown")
    assert (await world.message(admitted.message.id)).status == status


@pytest.mark.parametrize(
    "event",
    [
        DeliveryUpdate(event_id="e", status="delivered", provider_id="p-1", occurred_at=datetime(2026, 1, 1)),  # noqa: DTZ001
        DeliveryUpdate(event_id=7, status="delivered", provider_id="p-1"),  # type: ignore[arg-type]
        DeliveryUpdate(event_id="", status="delivered", provider_id="p-1"),
        DeliveryUpdate(event_id="e", status="bounced", provider_id="p-1"),  # type: ignore[arg-type]
        DeliveryUpdate(event_id="e", status="read", recipient=Address("e164", TO), watermark=datetime(2026, 1, 1)),  # noqa: DTZ001
        DeliveryUpdate(event_id="e", status="read", provider_id="p-1", occurred_at="today"),  # type: ignore[arg-type]
    ],
    ids=["naive", "number", "empty", "bounced", "naive watermark", "text"],
)
async def test_an_event_that_is_none_is_named_and_kept(world: World, heard: Any, event: DeliveryUpdate) -> None:
    partner = await world.partner()
    assert (await world.tell(partner, event)).status == 200
    (line,) = [line for line in heard.lines if line["event"] == "webhook.parse_failed"]
    assert "fake.parse_event gave a DeliveryUpdate whose" in line["problem"]


async def test_settings_that_raise_are_that_gateways_trouble(world: World) -> None:
    class Raising(FakeSettings):
        @model_validator(mode="after")
        def look(self) -> Raising:
            raise KeyError(self.account)

    with pytest.raises(InvalidArgumentError) as refused:
        credentials.check(Raising, {"token": "t"})
    assert "Raising raised KeyError" in str(refused.value)


async def test_nobody_waits_for_ever_where_a_directory_cannot_be_read(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(FakeChannel())
    partner = await world.partner()
    await world.accept(partner)

    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(world.node.desk, "_windowed", broken)
    with pytest.raises(ZeroDivisionError):
        await world.accept(partner)


def test_what_raises_it_is_a_fault() -> None:
    with pytest.raises(PluginFaultError):
        FakeChannel(quote=Quote((QuoteLine("unit", 1.5),))).plugin.price(None, None)  # type: ignore[arg-type]
