"""A gateway's account, opened: its settings validated, its secrets unsealed, its plugin's client at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
import orjson
from pydantic import ValidationError

from waypost.clock import Clock, to_datetime
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.log import described, logger
from waypost.plugin.errors import ChannelError
from waypost.plugin.settings import Settings, UnresolvedReferenceError, resolve_references
from waypost.plugin.types import Context, Micros, WebhookContext
from waypost.store.gateways import Gateway, ProviderApp
from waypost.vault import Vault, VaultError, gateway_place, provider_app_place

#: How many opened accounts are kept; the least recently used is closed first.
MAX_OPEN = 500
#: How long after its last send must have ended a client is closed that is not used any more, in seconds.
GRACE = 60.0

_LOG = logger()


class CredentialsUnusableError(Exception):
    """A gateway's settings or secrets cannot be used; complete them with `waypost gateways update`."""

    def __init__(self, gateway: str, problem: str) -> None:
        self.problem = problem
        super().__init__(f"gateway {gateway}: {problem}")


@dataclass(slots=True, eq=False)
class OpenAccount:
    """A gateway with its settings; `client` is what its plugin's `open_account` returned, once it was asked."""

    gateway: Gateway
    plugin: ChannelPlugin
    account: Settings
    provider_app: Settings
    stamp: tuple[str, ...]
    client: object | None = None
    asked: bool = False
    opening: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class Accounts:
    """Opens accounts and makes contexts. Settings are read anew when an operator changes them."""

    def __init__(
        self,
        plugins: Mapping[str, ChannelPlugin],
        vault: Vault,
        clock: Clock,
        http: aiohttp.ClientSession,
        public_url: str | None,
    ) -> None:
        self._plugins = plugins
        self._vault = vault
        self._clock = clock
        self._http = http
        self._public_url = public_url
        self._open: dict[str, OpenAccount] = {}
        #: What gateways' credentials were when they were last found to be usable.
        self._sound: dict[str, tuple[str, ...]] = {}
        #: Accounts that were replaced or forgotten: a send under way may still use their client.
        self._retired: dict[OpenAccount, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def plugin(self, gateway: Gateway) -> ChannelPlugin | None:
        """The gateway's plugin, if this node has it loaded and has not disabled it."""
        plugin = self._plugins.get(gateway.plugin)
        return None if plugin is None or plugin.halted else plugin

    @property
    def channels(self) -> frozenset[str]:
        """The channels that some plugin loaded on this node serves."""
        return frozenset(plugin.info.channel for plugin in self._plugins.values())

    def account(self, gateway: Gateway, provider_app: ProviderApp | None) -> OpenAccount:
        """The gateway's account. Raises `CredentialsUnusableError`."""
        plugin = self.plugin(gateway)
        if plugin is None:
            raise CredentialsUnusableError(gateway.name, f"its plugin {gateway.plugin} is not loaded here")
        stamp = _stamp(gateway, provider_app)
        known = self._open.get(gateway.id)
        if known is not None and known.stamp == stamp:
            if len(self._open) > MAX_OPEN // 2:  # soon somebody has to go: those who are used come last
                self._open[gateway.id] = self._open.pop(gateway.id)
            return known
        account = account_settings(self._vault, plugin, gateway)
        opened = OpenAccount(
            gateway, plugin, account, app_settings(self._vault, gateway.name, plugin, provider_app), stamp
        )
        if known is not None:
            self._retire(known)
        elif len(self._open) >= MAX_OPEN:
            self._retire(self._open.pop(next(iter(self._open))))
        self._open[gateway.id] = opened
        return opened

    def problem(self, gateway: Gateway, provider_app: ProviderApp | None) -> str | None:
        """Why the gateway's credentials cannot be used here, if that is so and its plugin is loaded here."""
        plugin, stamp = self.plugin(gateway), _stamp(gateway, provider_app)
        if plugin is None or self._sound.get(gateway.id) == stamp:
            return None
        try:
            account_settings(self._vault, plugin, gateway)
            app_settings(self._vault, gateway.name, plugin, provider_app)
        except CredentialsUnusableError as error:
            return error.problem
        self._sound[gateway.id] = stamp
        return None

    def provider_app_settings(self, plugin: ChannelPlugin, provider_app: ProviderApp | None) -> Settings:
        """A provider app's settings. Raises `CredentialsUnusableError`."""
        return app_settings(self._vault, provider_app.name if provider_app else plugin.id, plugin, provider_app)

    def context(
        self,
        opened: OpenAccount,
        *,
        correlation: str = "",
        idempotency_key: str = "",
        last_inbound_at: int | None = None,
        history_since: int | None = None,
        rates: Callable[[str], Micros | None] | None = None,
    ) -> Context:
        """What a plugin gets while it prices, sends, looks up or checks."""
        return Context(
            gateway_id=opened.gateway.id,
            account=opened.account,
            provider_app=opened.provider_app,
            http=self._http,
            log=_LOG,
            now=to_datetime(self._clock.now()),
            client=opened.client,
            correlation=correlation,
            idempotency_key=idempotency_key,
            callback_url=self.callback_url(opened.gateway, correlation),
            last_inbound_at=to_datetime(last_inbound_at) if last_inbound_at is not None else None,
            history_since=to_datetime(history_since) if history_since is not None else None,
            rates=rates,
        )

    def callback_url(self, gateway: Gateway, correlation: str) -> str | None:
        """The public URL of a gateway's webhook, with an attempt's correlation in it."""
        if self._public_url is None:
            return None
        url = f"{self._public_url}/webhooks/{gateway.plugin}/{gateway.id}"
        return f"{url}?ref={correlation}" if correlation else url

    def webhook_context(
        self, gateway: Gateway | None, account: Settings | None, provider_app: Settings
    ) -> WebhookContext:
        """What a plugin gets while it verifies and parses."""
        return WebhookContext(
            provider_app=provider_app,
            account=account,
            log=_LOG,
            now=to_datetime(self._clock.now()),
            gateway_id=gateway.id if gateway else None,
        )

    async def ready(self, opened: OpenAccount) -> None:
        """Ask the plugin to open its own client, once. Raises `ChannelError` or `PluginFaultError`."""
        if opened.asked:
            return
        async with opened.opening:
            if not opened.asked:
                opened.client = await opened.plugin.open_account(self.context(opened))
                opened.asked = True

    async def close(self) -> None:
        """Close every client a plugin opened; one that cannot be closed is logged."""
        for timer in self._retired.values():
            timer.cancel()
        retired = list(self._retired)
        self._retired.clear()
        await asyncio.gather(*self._closing, *map(_closed, (*retired, *self._open.values())))
        self._open.clear()

    def _retire(self, opened: OpenAccount) -> None:
        """Close an account's client once nobody can be using it any more."""
        if "open_account" in opened.plugin.hooks:
            patience = opened.plugin.info.send_timeout + GRACE
            self._retired[opened] = asyncio.get_running_loop().call_later(patience, self._close_retired, opened)

    def _close_retired(self, opened: OpenAccount) -> None:
        if self._retired.pop(opened, None) is not None:
            task = asyncio.get_running_loop().create_task(_closed(opened))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def account_settings(vault: Vault, plugin: ChannelPlugin, gateway: Gateway) -> Settings:
    """A gateway's own settings. Raises `CredentialsUnusableError`."""
    model = plugin.info.account_settings
    return _settings(vault, gateway.name, model, gateway.settings, gateway.secrets, gateway_place(gateway.id))


def app_settings(vault: Vault, name: str, plugin: ChannelPlugin, provider_app: ProviderApp | None) -> Settings:
    """A provider app's settings; `name` is whom they are for. Raises `CredentialsUnusableError`."""
    model = plugin.info.provider_app_settings
    if provider_app is None:
        return _settings(vault, name, model, "{}", "", "")
    place = provider_app_place(provider_app.id)
    return _settings(vault, name, model, provider_app.settings, provider_app.secrets, place)


def _settings(vault: Vault, name: str, model: type[Settings], public: str, sealed: str, place: str) -> Settings:
    try:
        values = orjson.loads(public)
        if sealed:
            values |= orjson.loads(vault.unseal(sealed, place))
        return model.model_validate(resolve_references(values))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) or "settings" for item in error.errors())
        raise CredentialsUnusableError(name, f"these settings are missing or wrong: {fields}") from None
    except (UnresolvedReferenceError, VaultError) as error:
        raise CredentialsUnusableError(name, str(error)) from error
    except Exception as error:
        _LOG.error("plugin.settings_failed", model=model.__name__, cause=described(error))
        raise CredentialsUnusableError(name, f"{model.__name__} raised {type(error).__name__}") from error


def _stamp(gateway: Gateway, provider_app: ProviderApp | None) -> tuple[str, ...]:
    """What changes whenever a gateway's credentials do."""
    of_app = (provider_app.settings, provider_app.secrets) if provider_app else ("", "")
    return gateway.settings, gateway.secrets, *of_app


async def _closed(opened: OpenAccount) -> None:
    if opened.client is None or opened.plugin.halted:
        return
    try:
        await opened.plugin.close_account(opened.client)
    except (ChannelError, PluginFaultError) as error:
        _LOG.error("account.not_closed", gateway=opened.gateway.id, problem=str(error))
