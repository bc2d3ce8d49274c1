"""What is checked: the installed plugin, and what its author says about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, ClassVar

import pluggy
from pydantic import BaseModel, SecretStr, ValidationError

from waypost.host.dispatch import ChannelPlugin
from waypost.host.loader import load_channels
from waypost.plugin.content import Content
from waypost.plugin.errors import ChannelError
from waypost.plugin.settings import Settings
from waypost.plugin.simulator import Simulator
from waypost.plugin.spec import CHANNELS_GROUP, ChannelSpec
from waypost.plugin.types import Address, OutboundMessage, WebhookRequest
from waypost.plugin.web_simulator import WebSimulator
from waypost.testing.check import CheckFailed

#: Where no provider is.
NOWHERE = "http://127.0.0.1:9"

_LOADED: dict[str, tuple[ChannelPlugin, Any]] = {}


@dataclass(frozen=True, slots=True)
class Account:
    """Settings of a gateway and of its provider app, as an operator would give them and as the plugin gets them."""

    raw: Mapping[str, Any]
    app_raw: Mapping[str, Any]
    account: Settings
    provider_app: Settings


class Subject:
    """The plugin under check. An author sets the attributes and overrides the methods that do not fit the provider."""

    #: The plugin's id: its entry-point name in the group `waypost.channels.v1`, as installed.
    plugin: ClassVar[str] = ""
    #: The account setting that says where the provider is. A plugin with a transport of its own has none.
    base_url_setting: ClassVar[str] = "base_url"
    #: Check id → why the plugin cannot keep it (ten characters at least). Keeps the plugin from gold.
    exempt: ClassVar[Mapping[str, str]] = {}
    #: How many strange deliveries the parser is given.
    fuzz_examples: ClassVar[int] = 200

    # ---- what an author may override

    def batch(self, first: WebhookRequest, second: WebhookRequest) -> WebhookRequest | None:
        """Two deliveries as the provider would put them into one; None where it would not.

        Joins two JSON arrays, or two JSON objects that differ in lists only (Meta's `entry`).
        """
        try:
            one, other = json.loads(first.body), json.loads(second.body)
        except ValueError:
            return None
        joined = _joined(one, other)
        return replace(first, body=json.dumps(joined).encode()) if joined is not None else None

    def handshake(self, simulator: Simulator, *, good: bool) -> WebhookRequest | None:
        """The provider's handshake with the right or a wrong token; None where the provider has none.

        Takes it from the simulator's `handshake(token=…)`, where it has one; without a token it is the right one.
        """
        if not isinstance(simulator, WebSimulator):
            return None
        try:
            request: object = simulator.handshake(token=None if good else "not-the-token")
        except NotImplementedError:
            return None
        if not isinstance(request, WebhookRequest):
            raise CheckFailed(f"the simulator's handshake returned a {type(request).__name__}")
        return request

    # ---- what the checks use

    @property
    def channel(self) -> ChannelPlugin:
        """The plugin, loaded from its installed entry point."""
        return self._load()[0]

    @property
    def hooks(self) -> Any:
        """The plugin's hooks as they are: what they raise is not translated, unlike behind the host's dispatch."""
        return self._load()[1]

    def _load(self) -> tuple[ChannelPlugin, Any]:
        if not self.plugin:
            raise CheckFailed(f'{type(self).__name__} names no plugin; write plugin = "its entry point"')
        if self.plugin not in _LOADED:
            record = load_channels([self.plugin])[self.plugin]
            if record.plugin is None:
                raise CheckFailed(f"{self.plugin} is {record.state}: {record.reason}{self._cause()}")
            manager = pluggy.PluginManager("waypost")
            manager.add_hookspecs(ChannelSpec)
            manager.register(next(iter(metadata.entry_points(group=CHANNELS_GROUP, name=self.plugin))).load())
            _LOADED[self.plugin] = (record.plugin, manager.hook)
        return _LOADED[self.plugin]

    def _cause(self) -> str:
        """What importing the plugin raises, for its author's eyes."""
        for point in metadata.entry_points(group=CHANNELS_GROUP, name=self.plugin):
            try:
                point.load()
            except BaseException as error:  # noqa: BLE001 - a stranger's module may raise anything, SystemExit too
                return f" ({type(error).__name__}: {error})"
        return ""

    def new_simulator(self) -> Simulator:
        """A simulator of the provider."""
        if "simulator" not in self.channel.hooks:
            raise CheckFailed("the plugin has no simulator; implement the hook `simulator`")
        made = self.hooks.simulator()
        if not isinstance(made, Simulator):
            raise CheckFailed(f"simulator() returned a {type(made).__name__}, not a waypost.plugin.simulator.Simulator")
        return made

    def account_at(self, simulator: Simulator, url: str) -> Account:
        """The simulator's account, with the provider at this URL."""
        simulator.base_url = url
        raw, app_raw = dict(simulator.account_settings()), dict(simulator.provider_app_settings())
        if self.base_url_setting in self.channel.info.account_settings.model_fields:
            raw[self.base_url_setting] = url
        elif any(isinstance(value, str) and value.startswith(("http:", "https:")) for value in raw.values()):
            raise CheckFailed(
                f"the account settings have no {self.base_url_setting!r}; name the setting that holds the provider's "
                "address: base_url_setting = …"
            )
        return self.account(raw, app_raw)

    def account_of(self, simulator: Simulator) -> Account:
        """The simulator's account for what needs no provider; it is started only where it has no address before."""
        if self.speaks_http:
            return self.account_at(simulator, NOWHERE)

        async def started() -> Account:
            url = await simulator.start()
            try:
                return self.account_at(simulator, url)
            finally:
                await simulator.stop()

        with asyncio.Runner() as runner:
            return runner.run(started())

    @property
    def speaks_http(self) -> bool:
        """Whether the plugin's requests go by HTTP; it has a transport of its own otherwise. Says `CheckFailed`."""
        if self.base_url_setting in self.channel.info.account_settings.model_fields:
            return True
        if "open_account" not in self.channel.hooks:
            raise CheckFailed(
                f"the account settings have no {self.base_url_setting!r}, and the plugin opens no transport of its own "
                "(`open_account`); name the setting that holds the provider's address: base_url_setting = …"
            )
        return False

    def account(self, raw: Mapping[str, Any], app_raw: Mapping[str, Any]) -> Account:
        """Settings validated by the plugin's models."""
        info = self.channel.info
        try:
            account = info.account_settings.model_validate(dict(raw))
            provider_app = info.provider_app_settings.model_validate(dict(app_raw))
        except ValidationError as error:
            raise CheckFailed(f"the plugin refuses its own simulator's settings: {error}") from None
        return Account(raw, app_raw, account, provider_app)

    @property
    def usual_kind(self) -> str:
        """The content kind of checks that need just any: text, or the first that has an example."""
        info = self.channel.info
        kinds = [kind for kind in sorted(info.content_kinds) if kind in info.examples]
        if not kinds:
            raise CheckFailed("channel_info().examples has no example of any content kind")
        return "text" if "text" in kinds else kinds[0]

    def content(self, kind: str) -> Content:
        """The example of a content kind."""
        info = self.channel.info
        model = info.content_model(kind)
        if model is None:
            raise CheckFailed(f"the content kind {kind!r} has no model; put one into content_models")
        if kind not in info.examples:
            raise CheckFailed(f"channel_info().examples has no {kind!r}")
        try:
            made = model.model_validate({"kind": kind, **info.examples[kind]})
        except ValidationError as error:
            raise CheckFailed(f"the example of {kind!r} is not valid: {error}") from None
        if not isinstance(made, Content):
            raise CheckFailed(f"the model of {kind!r} is no subclass of Content")
        return made

    def address(self, value: str) -> Address:
        """A recipient as the host parses it."""
        try:
            return self.channel.parse_address(value)
        except ChannelError as error:
            raise CheckFailed(
                f"parse_address refuses a recipient of the plugin's own simulator: {error.detail}"
            ) from None

    def message(
        self, simulator: Simulator, kind: str | None = None, to: str | None = None, **more: Any
    ) -> OutboundMessage:
        """An `OutboundMessage` of a kind's example."""
        senders, kind = simulator.senders(), kind or self.usual_kind
        return OutboundMessage(
            channel=self.channel.info.channel,
            recipient=(self.address(to if to is not None else simulator.ordinary_recipient),),
            content=self.content(kind),
            sender=senders[0] if senders else None,
            **more,
        )


def secrets_of(*settings: BaseModel) -> set[str]:
    """Every secret in these settings, plainly; short ones would be found anywhere and are left out."""
    found = {value for model in settings for item in dict(model).values() for value in _plain_secrets(item)}
    return {value for value in found if len(value) >= 6}


def _plain_secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _plain_secrets(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _plain_secrets(item)


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    if not (isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()):
        return None
    lists = {name for name in one if isinstance(one[name], list) and isinstance(other[name], list)}
    if not lists or any(one[name] != other[name] for name in one.keys() - lists):
        return None
    return {name: one[name] + other[name] if name in lists else one[name] for name in one}
