"""Receiving: who sent this, and is it really theirs. It is safe on disk before we say thank you.

No secret configured means refuse with 503, not allow. Whatever fails verification gets one constant 401 that echoes
nothing. A forged POST costs at most `MAX_VERIFICATIONS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from waypost.clock import Clock
from waypost.host.accounts import Accounts, CredentialsUnusableError
from waypost.host.dispatch import ChannelPlugin, PluginFaultError
from waypost.ids import new_id
from waypost.inbox.redaction import Redactor
from waypost.log import logger
from waypost.plugin.settings import Settings
from waypost.plugin.types import Challenge, Rejected, Verified, WebhookReply, WebhookRequest
from waypost.routing import Directory
from waypost.store.deliveries import Delivery
from waypost.store.gateways import Gateway, ProviderApp

MAX_VERIFICATIONS = 8
#: A handshake without a body is compared with so many verify tokens: it names no account, and stores nothing.
MAX_HANDSHAKES = 256

UNAUTHORIZED = WebhookReply(401, b"unauthorized")
NOT_FOUND = WebhookReply(404, b"not found")
UNAVAILABLE = WebhookReply(503, b"unavailable")

_LOG = logger()


@dataclass(slots=True)
class _Claimant:
    """Whose secret a delivery is to be verified with."""

    plugin: ChannelPlugin
    gateway: Gateway | None
    provider_app: ProviderApp | None
    account: Settings | None
    app_settings: Settings


class Receiver:
    """Verifies deliveries and has them stored."""

    def __init__(
        self,
        accounts: Accounts,
        directory: Callable[[], Directory],
        plugins: Mapping[str, ChannelPlugin],
        clock: Clock,
        store: Callable[[Delivery], Awaitable[None]],
        count: Callable[[str, str], None],
    ) -> None:
        self._accounts = accounts
        self._directory = directory
        self._plugins = plugins
        self._clock = clock
        self._store = store
        self._count = count
        self._redactor = Redactor()

    async def receive(
        self, request: WebhookRequest, *, plugin: str | None = None, gateway: str | None = None,
        among: Iterable[str] | None = None,
    ) -> WebhookReply:  # fmt: skip
        """Take a delivery and return the answer.

        With `plugin` and `gateway` the URL names the gateway; with `plugin` alone it is the plugin's shared URL; with
        neither it is one URL for all, or for the plugins `among`. Raises `StoreUnavailableError` if it was not stored.
        """
        if gateway is not None:
            claimants, misconfigured = self._named(plugin, gateway)
        elif plugin is not None:
            claimants, misconfigured = self._shared(self._plugins.get(plugin), request)
        else:
            claimants, misconfigured = self._anyone(request, among)
        if not claimants:
            return UNAVAILABLE if misconfigured else (NOT_FOUND if gateway or plugin else UNAUTHORIZED)
        refused: list[Rejected] = []
        most = MAX_HANDSHAKES if request.method == "GET" and not request.body else MAX_VERIFICATIONS
        for number, claimant in enumerate(claimants[:most], 1):
            verdict = await self._verify(claimant, request)
            if isinstance(verdict, Challenge):
                self._count(claimant.plugin.id, "challenge")
                return verdict.reply
            if isinstance(verdict, Verified):
                # All of them: whoever signed this is no stranger, and what it says may be of the last one's messages.
                also = [other for other in claimants[number:] if await self._holds_too(claimant, other, request)]
                await self._store(self._delivery(claimant, also, request))
                self._count(claimant.plugin.id, "verified")
                return verdict.reply or claimant.plugin.info.webhook_ack
            refused.append(verdict)
        return self._refuse(claimants, refused)

    async def _holds_too(self, first: _Claimant, other: _Claimant, request: WebhookRequest) -> bool:
        """Whether what was verified for one gateway is proved for another of its plugin's as well."""
        if first.gateway is None or other.gateway is None or other.plugin is not first.plugin:
            return False
        return isinstance(await self._verify(other, request), Verified)

    def _refuse(self, claimants: Sequence[_Claimant], refused: Sequence[Rejected]) -> WebhookReply:
        """Say no, and say it to the log once, however many secrets a stranger had tried."""
        first = claimants[0]
        self._count(first.plugin.id, "rejected")
        gateway = first.gateway.id if first.gateway else None
        _LOG.warning(
            "webhook.rejected",
            plugin=first.plugin.id,
            gateway=gateway,
            reason=refused[0].reason,
            tried=len(refused),
            of=len(claimants),
        )
        return UNAVAILABLE if all(verdict.unconfigured for verdict in refused) else UNAUTHORIZED

    async def _verify(self, claimant: _Claimant, request: WebhookRequest) -> Verified | Challenge | Rejected:
        ctx = self._accounts.webhook_context(claimant.gateway, claimant.account, claimant.app_settings)
        try:
            return await claimant.plugin.verify_webhook(ctx, request)
        except PluginFaultError as error:
            _LOG.error("webhook.verify_failed", plugin=claimant.plugin.id, problem=error.problem)
            return Rejected("the plugin failed")

    def _delivery(self, claimant: _Claimant, also: Sequence[_Claimant], request: WebhookRequest) -> Delivery:
        return Delivery(
            id=new_id("raw"),
            plugin=claimant.plugin.id,
            gateway_id=claimant.gateway.id if claimant.gateway else None,
            also=tuple(other.gateway.id for other in also if other.gateway),
            provider_app_id=claimant.provider_app.id if claimant.provider_app else None,
            request=self._redactor.without_secrets(request, claimant.account, claimant.app_settings),
            received_at=self._clock.now(),
        )

    # ---- claimants

    def _named(self, plugin: str | None, gateway_id: str) -> tuple[list[_Claimant], bool]:
        gateway = self._directory().gateways.get(gateway_id)
        if gateway is None or (plugin is not None and gateway.plugin != plugin):
            return [], False
        claimant = self._of_gateway(gateway)
        return ([claimant], False) if claimant else ([], True)

    def _shared(self, plugin: ChannelPlugin | None, request: WebhookRequest) -> tuple[list[_Claimant], bool]:
        if plugin is None:
            return [], False
        if plugin.halted:
            return [], True
        return self._of_plugin(plugin, self._recognize(plugin, request))

    def _anyone(self, request: WebhookRequest, among: Iterable[str] | None) -> tuple[list[_Claimant], bool]:
        allowed = set(among) if among is not None else None
        claimants: list[_Claimant] = []
        misconfigured = False
        for plugin in self._plugins.values():
            if allowed is not None and plugin.id not in allowed:
                continue
            if plugin.halted:
                misconfigured = True  # it may be this plugin's; nobody is asked any more who could tell
                continue
            handshake = request.method == "GET" and not request.body
            recognition = self._recognize(plugin, request)
            if recognition is None and not (handshake and "recognize" in plugin.hooks):
                continue
            found, bad = self._of_plugin(plugin, recognition)
            claimants.extend(found)
            misconfigured |= bad
        return claimants, misconfigured

    def _recognize(self, plugin: ChannelPlugin, request: WebhookRequest) -> str | None:
        """The account reference a plugin recognises; an empty one where it recognises the delivery only."""
        try:
            recognition = plugin.recognize(request)
        except PluginFaultError as error:
            _LOG.error("webhook.recognize_failed", plugin=plugin.id, problem=error.problem)
            return None
        return None if recognition is None else recognition.account_ref or ""

    def _of_plugin(self, plugin: ChannelPlugin, account_ref: str | None) -> tuple[list[_Claimant], bool]:
        """Claimants of one plugin: the recognised account's gateways, else one per distinct secret."""
        directory = self._directory()
        gateways = directory.by_account_ref(plugin.id, account_ref) if account_ref else []
        gateways = gateways or directory.of_plugin(plugin.id)
        claimants: list[_Claimant] = []
        misconfigured = False
        seen: set[str] = set()
        for gateway in gateways:
            claimant = self._of_gateway(gateway)
            if claimant is None:
                misconfigured = True
                continue
            if plugin.info.webhook_scope == "shared" and claimant.provider_app is not None:
                if claimant.provider_app.id in seen:
                    continue
                seen.add(claimant.provider_app.id)
                claimant = _Claimant(plugin, None, claimant.provider_app, None, claimant.app_settings)
            claimants.append(claimant)
        return claimants, misconfigured

    def _of_gateway(self, gateway: Gateway) -> _Claimant | None:
        app = self._directory().provider_apps.get(gateway.provider_app_id or "")
        try:
            opened = self._accounts.account(gateway, app)
        except CredentialsUnusableError as error:
            _LOG.error("webhook.credentials_unusable", gateway=gateway.id, problem=error.problem)
            return None
        return _Claimant(opened.plugin, gateway, app, opened.account, opened.provider_app)
