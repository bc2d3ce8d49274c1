"""The loader: what each entry point becomes, with a reason, and what is never imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from fake_channel import FakeChannel
from waypost.host.dispatch import PluginFaultError
from waypost.host.loader import PluginRecord, RulesBrokenError, inspect_plugin, load_channels
from waypost.host.wrappers import WrapperUnusableError, load_wrappers
from waypost.plugin import (
    CHANNELS_GROUP,
    WRAPPERS_GROUP,
    Address,
    OutcomeUnknown,
    OutsideWindow,
    Transient,
    hookimpl,
)

GOOD = """
from waypost.plugin import *
class S(Settings): pass
@hookimpl
def channel_info(): return ChannelInfo(channel="SMS", title="T", api="{api}", account_settings=S,
    address_kinds=("e164",), content_kinds=frozenset({{"text"}}), receives="{receives}")
@hookimpl
async def send(ctx, message): return SendResult()
@hookimpl
def price(message): return Quote((QuoteLine("unit"),))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[object]:
    """Install a distribution: its name, and its entry points with their modules' source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(distribution: str, version: str = "1.0", group: str = CHANNELS_GROUP, **modules: str) -> None:
        folder = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        points = []
        for name, source in modules.items():
            module = f"{distribution.replace('-', '_')}_{name}"
            (tmp_path / f"{module}.py").write_text(source)
            points.append(f"{name} = {module}")
        (folder / "entry_points.txt").write_text(f"[{group}]\n" + "\n".join(points) + "\n")

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


#: A hook of another version of the API.
SPLIT = """
@hookimpl
def split(message): return [message]
"""


def good(api: str = "1.0", receives: str = "none") -> str:
    return GOOD.format(api=api, receives=receives)


def load(*enabled: str, **pinned: str) -> dict[str, PluginRecord]:
    return {name: record for name, record in load_channels(enabled, pinned=pinned).items() if name.startswith("t_")}


async def test_what_is_enabled_and_good_is_loaded(install: object) -> None:
    install("acme", "2.1", t_good=good())  # type: ignore[operator]
    record = load("t_good")["t_good"]
    assert (record.state, record.reason, record.distribution, record.version) == ("loaded", "", "acme", "2.1")
    assert record.hooks == ("channel_info", "price", "send")
    assert record.plugin is not None
    assert (await record.plugin.send(None, None)).status == "accepted"  # type: ignore[arg-type]


def test_what_is_not_enabled_is_never_imported(install: object) -> None:
    install("acme", t_trap="raise SystemExit('imported')")  # type: ignore[operator]
    imported = []

    class Spy:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            imported.append(name)

    sys.meta_path.insert(0, Spy())  # type: ignore[arg-type]
    try:
        record = load()["t_trap"]
    finally:
        del sys.meta_path[0]
    assert (record.state, record.plugin) == ("disabled", None)
    assert "acme_t_trap" not in imported
    assert "acme_t_trap" not in sys.modules


@pytest.mark.parametrize(
    ("source", "state", "reason"),
    [
        ("raise ImportError('no')", "failed", "ImportError"),
        ("import no_such_module_anywhere", "failed", "ModuleNotFoundError"),
        ("def broken(", "failed", "SyntaxError"),
        ("raise SystemExit(1)", "failed", "SystemExit"),
        ("\nraise ValueError('secret')", "failed", "raised ValueError (acme_t_bad.py:2)"),
        (good().replace("title=", "name="), "failed", "channel_info raised TypeError (acme_t_bad.py:5)"),
        ("import asyncio; raise asyncio.CancelledError", "failed", "CancelledError"),
        ("", "failed", "channel_info"),
        (good().replace('api="1.0"', "api=1.0"), "failed", 'must be like "1.0", not 1.0'),
        (good().replace("async def send", "def send"), "failed", "async def"),
        (good().replace("def price", "async def price"), "failed", "plain `def`"),
        (good().replace("send(ctx, message)", "send(ctx, *, message)"), "failed", "keyword-only"),
        (good().replace("price(message)", "price(message, mood)"), "failed", "mood"),
        (good().replace("@hookimpl\nasync", "@hookimpl(wrapper=True)\nasync"), "failed", "wrapper"),
        (good() + "\n@hookimpl\ndef prize(message): pass", "failed", "prize"),
        (good().replace("@hookimpl\ndef price", "def price"), "failed", "price"),
        (good().replace('title="T", ', ""), "failed", "TypeError"),
        (good().replace("return ChannelInfo", "return dict"), "failed", "ChannelInfo"),
        (good().replace("account_settings=S", "account_settings=dict"), "failed", "waypost.plugin.Settings"),
        (good().replace("receives=", "content_models=(S,), receives="), "failed", "subclasses of Content"),
        (good().replace("receives=", "content_models=(Text,), receives="), "failed", "vendor.kind"),
        (good().replace("def channel_info()", "def channel_info(mood)"), "failed", "mood"),
        (good(receives="webhook"), "failed", "parse_event, verify_webhook"),
        (good(receives="listen"), "failed", "listen"),
        (good(api="0.1"), "incompatible", "made for plugin API 0.1 and this is 1.0, another major version"),
        (good(api="2.0"), "incompatible", "another major version; install a release of it that is made for 1.x"),
        (good(api="1.9"), "incompatible", "needs plugin API 1.9 and this is 1.0; install a newer Waypost"),
        (good(api="0.1") + SPLIT, "incompatible", "0.1"),
        (good(api="1.9") + SPLIT, "incompatible", "1.9"),
        (good() + SPLIT, "failed", "split"),
        (good(api="new"), "failed", "'new'"),
        ("import t_nowhere", "failed", "ModuleNotFoundError (t_nowhere)"),
        ("\ndef :\n", "failed", "SyntaxError (acme_t_bad.py:2)"),
    ],
    ids=lambda value: None if "\n" in str(value) else str(value)[:30] or "empty",
)
def test_what_cannot_be_used_says_why(install: object, source: str, state: str, reason: str) -> None:
    install("acme", t_bad=source, t_good=good())  # type: ignore[operator]
    records = load("t_bad", "t_good")
    assert (records["t_bad"].state, records["t_bad"].plugin) == (state, None)
    assert reason in records["t_bad"].reason
    assert records["t_good"].state == "loaded"


def test_another_generation_of_the_api_is_incompatible(install: object) -> None:
    install("acme", group="waypost.channels.v9", t_future="raise SystemExit")  # type: ignore[operator]
    record = load("t_future")["t_future"]
    assert record.state == "incompatible"
    assert "waypost.channels.v9" in record.reason


def test_an_id_in_two_generations_is_loaded_from_the_one_that_is_known(install: object) -> None:
    install("acme", group="waypost.channels.v9", t_both="raise SystemExit")  # type: ignore[operator]
    install("acme-too", t_both=good())  # type: ignore[operator]
    record = load("t_both")["t_both"]
    assert (record.state, record.distribution) == ("loaded", "acme-too")
    assert "acme_t_both" not in sys.modules


def test_a_name_that_two_distributions_claim_is_refused_to_both(install: object) -> None:
    install("acme", t_x=good())  # type: ignore[operator]
    install("evil", t_x="raise SystemExit")  # type: ignore[operator]
    record = load("t_x")["t_x"]
    assert record.state == "failed"
    assert "acme" in record.reason
    assert "evil" in record.reason
    assert "evil_t_x" not in sys.modules
    pinned = load("t_x", t_x="acme")["t_x"]
    assert (pinned.state, pinned.distribution) == ("loaded", "acme")
    assert load("t_x", t_x="third")["t_x"].state == "failed"


def test_a_pin_is_compared_as_names_of_distributions_are(install: object) -> None:
    install("acme-sms-too", t_x=good())  # type: ignore[operator]
    install("evil", t_x="raise SystemExit")  # type: ignore[operator]
    assert load("t_x", t_x="Acme_SMS.too ")["t_x"].state == "loaded"
    missed = load("t_x", t_x="acme")["t_x"]
    assert (missed.state, "acme-sms-too and evil do" in missed.reason) == ("failed", True)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("missing", "raised AttributeError (missing)"), ("Channel", "t_x is the class Channel; name an instance of it")],
)
def test_an_entry_point_that_names_no_plugin_is_told_from_it(install: object, target: str, reason: str) -> None:
    source = "from waypost.plugin import hookimpl\nclass Channel:\n @hookimpl\n def channel_info(self): pass\n"
    install("acme", t_x=source)  # type: ignore[operator]
    point = EntryPoint("t_x", f"acme_t_x:{target}", CHANNELS_GROUP)
    record = load_channels(["t_x"], entry_points=[point])["t_x"]
    assert (record.state, record.reason.startswith(("importing it " + reason, reason))) == ("failed", True)


def test_a_class_of_static_hooks_is_as_good_as_a_module(install: object) -> None:
    imported, *hooks = good().split("@hookimpl\n")
    static = "".join(f" @staticmethod\n @hookimpl\n {hook}" for hook in hooks)
    install("acme", t_x=f"{imported}class Channel:\n{static}")  # type: ignore[operator]
    point = EntryPoint("t_x", "acme_t_x:Channel", CHANNELS_GROUP)
    assert load_channels(["t_x"], entry_points=[point])["t_x"].state == "loaded"


def test_what_is_enabled_but_not_installed_is_listed() -> None:
    record = load("t_nothing")["t_nothing"]
    assert record.state == "failed"
    assert "no installed distribution" in record.reason


def test_our_own_plugins_are_found_and_left_alone() -> None:
    names = set(load_channels(()))
    assert {"sms_twilio", "whatsapp", "messenger", "instagram", "email_sendgrid"} <= names
    assert {record.state for record in load_channels(()).values()} == {"disabled"}


# ---- dispatch


async def test_a_call_reaches_exactly_one_of_two_hundred() -> None:
    channels = [FakeChannel(f"fake_{number}") for number in range(200)]
    plugins = [channel.plugin for channel in channels]
    message: object = type("M", (), {"recipient": [type("A", (), {"value": "x"})]})
    await plugins[77].send(None, message)  # type: ignore[arg-type]
    assert [len(channel.sent) for channel in channels] == [int(number == 77) for number in range(200)]


def calls_of(plugin: object, count: int) -> int:
    """How many Python functions one price makes: cost, without a clock."""
    from waypost.plugin import Quote

    seen = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for _ in range(count):
            answer = plugin.price(None, None)  # type: ignore[attr-defined]
    finally:
        sys.setprofile(None)
    assert isinstance(answer, Quote)
    return seen


def test_a_call_costs_the_same_however_many_are_loaded() -> None:
    alone = FakeChannel("alone").plugin
    before = calls_of(alone, 10)
    crowd = [FakeChannel(f"fake_{number}").plugin for number in range(200)]
    assert calls_of(alone, 10) == calls_of(crowd[150], 10) == before
    assert before < 300


@pytest.mark.parametrize("answer", [None, 7, ZeroDivisionError("secret"), "text", Transient("secret")], ids=repr)
def test_a_pure_hook_that_lies_is_a_fault_of_its_plugin(answer: object) -> None:
    channel = FakeChannel(quote=answer)
    with pytest.raises(PluginFaultError) as caught:
        channel.plugin.price(None, None)  # type: ignore[arg-type]
    assert str(caught.value).startswith("fake.price")
    assert "secret" not in str(caught.value)


def test_a_price_may_refuse_for_good() -> None:
    refusal = OutsideWindow()
    with pytest.raises(OutsideWindow) as caught:
        FakeChannel(quote=refusal).plugin.price(None, None)  # type: ignore[arg-type]
    assert caught.value is refusal


def test_an_address_is_refused_as_one_or_the_plugin_is_at_fault() -> None:
    class Confused(FakeChannel):
        @hookimpl
        def parse_address(self, value: str) -> Address:
            raise OutcomeUnknown(value)

    with pytest.raises(PluginFaultError) as caught:
        Confused().plugin.parse_address("+4915112345678")
    assert "4915" not in str(caught.value)


def test_optional_hooks_may_take_fewer_parameters() -> None:
    class Lean(FakeChannel):
        @hookimpl
        def price(self) -> object:  # type: ignore[override]
            return self.quote

    assert Lean().plugin.price(None, None).lines  # type: ignore[arg-type]


def test_an_object_without_hooks_is_refused() -> None:
    with pytest.raises(RulesBrokenError):
        inspect_plugin("nothing", object())


# ---- wrappers

WRAPPER = """
from waypost.plugin import *
@hookimpl
def wrap_send():
    async def middleware(call, proceed):
        {body}
    return middleware
"""


async def wrapped(install: object, body: str) -> FakeChannel:
    install("acme-wraps", group=WRAPPERS_GROUP, w=WRAPPER.format(body=body))  # type: ignore[operator]
    channel = FakeChannel()
    plugin = channel.plugin
    plugin.wrap(load_wrappers(["w"]))
    message: object = type("M", (), {"recipient": [type("A", (), {"value": "x"})]})
    channel.result = await plugin.send(None, message)  # type: ignore[attr-defined,arg-type]
    return channel


async def test_a_wrapper_goes_around_every_send(install: object) -> None:
    channel = await wrapped(install, "return await proceed(call)")
    assert len(channel.sent) == 1


async def test_a_wrapper_may_refuse(install: object) -> None:
    from waypost.plugin import OptedOut

    with pytest.raises(OptedOut):
        await wrapped(install, "raise OptedOut")


async def test_a_wrapper_never_makes_a_second_request(install: object) -> None:
    from waypost.plugin import OutcomeUnknown

    with pytest.raises(OutcomeUnknown):
        await wrapped(install, "await proceed(call); return await proceed(call)")


def test_a_wrapper_that_is_missing_or_broken_stops_the_process(install: object) -> None:
    sync = WRAPPER.format(body="pass").replace("async ", "")
    install("acme-wraps", group=WRAPPERS_GROUP, bad="raise ImportError", exits="raise SystemExit", empty="", sync=sync)  # type: ignore[operator]
    for name in ("nobody", "bad", "exits", "empty", "sync"):
        with pytest.raises(WrapperUnusableError):
            load_wrappers([name])
