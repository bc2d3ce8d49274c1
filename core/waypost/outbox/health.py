"""When a provider refuses a whole account: pause the gateway once that is sure, and tell the operators.

`check_account` decides where the plugin has it. Where it does not, three refusals in a row from at least two apps do;
one partner's odd message must not stop everybody else's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sqlalchemy import Connection

from waypost.host.accounts import Accounts, CredentialsUnusableError
from waypost.host.dispatch import PluginFaultError
from waypost.log import logger
from waypost.plugin.errors import AccountBlocked, ChannelError
from waypost.routing import Directory
from waypost.store import audit, gateways, rates
from waypost.store.database import Database
from waypost.store.gateways import Gateway

REFUSALS = 3
APPS = 2

_LOG = logger()


class Health:
    """Decides about pausing gateways, for one node."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        directory: Callable[[], Directory],
        changed: Callable[[], None],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._directory = directory
        self._changed = changed
        self._refusals: dict[str, deque[str]] = {}
        #: The gateways whose accounts are being checked: of many refusals at once, one has that asked.
        self._checking: set[str] = set()

    def accepted(self, gateway_id: str) -> None:
        """A provider accepted something: earlier refusals no longer count."""
        self._refusals.pop(gateway_id, None)

    async def refused(self, gateway: Gateway, app_id: str, error: AccountBlocked) -> None:
        """A provider refused an account; find out whether the account really is blocked, and pause it if so."""
        known = self._directory().gateways.get(gateway.id)
        if known is None or known.status != "active":
            return  # what was under way as it was paused must not count once somebody has resumed it
        refusals = self._refusals.setdefault(gateway.id, deque(maxlen=REFUSALS))
        refusals.append(app_id)
        if gateway.id in self._checking:
            return
        self._checking.add(gateway.id)
        try:
            await self._find_out(gateway, refusals, error)
        finally:
            self._checking.discard(gateway.id)

    async def _find_out(self, gateway: Gateway, refusals: deque[str], error: AccountBlocked) -> None:
        reason = await self._why_blocked(gateway, refusals, error)
        if reason is None:
            return
        now = self._database.clock.now()

        def pause(conn: Connection) -> bool:
            if not gateways.pause_active(conn, gateway.id, reason):
                return False
            audit.add(conn, "waypost", "gateway.paused", gateway.id, {"reason": reason}, now)
            rates.raise_revision(conn)
            return True

        is_news = await self._database.write(pause)
        self._refusals.pop(gateway.id, None)
        if is_news:
            _LOG.critical("gateway.paused", gateway=gateway.id, name=gateway.name, reason=reason)
            self._changed()

    async def _why_blocked(self, gateway: Gateway, refusals: deque[str], error: AccountBlocked) -> str | None:
        plugin = self._accounts.plugin(gateway)
        if plugin is None:
            return None
        if "check_account" not in plugin.hooks:
            enough = len(refusals) == REFUSALS and len(set(refusals)) >= APPS
            return f"The provider refused the account {REFUSALS} times in a row." if enough else None
        try:
            # As it is now: what was refused may be what an operator has just replaced.
            gateway = self._directory().gateways.get(gateway.id, gateway)
            app = self._directory().provider_apps.get(gateway.provider_app_id or "")
            opened = self._accounts.account(gateway, app)
            await self._accounts.ready(opened)
            health = await plugin.check_account(self._accounts.context(opened))
        except AccountBlocked as confirmed:
            return confirmed.detail
        except (ChannelError, PluginFaultError, CredentialsUnusableError) as problem:
            _LOG.error("gateway.check_failed", gateway=gateway.id, problem=str(problem))
            return None
        return (health.detail or error.detail) if health.state == "blocked" else None
