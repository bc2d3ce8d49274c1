"""The operator: who asks for an operation, and on which deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from waypost.config import Config
from waypost.host.dispatch import ChannelPlugin
from waypost.host.loader import PluginRecord
from waypost.operations.errors import ConflictError, PluginUnavailableError
from waypost.progress.case import Change
from waypost.store import audit, rates
from waypost.store.database import Database
from waypost.vault import Vault

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A deployment's store, vault and plugins, in the hands of a named person or program."""

    database: Database
    vault: Vault
    records: Mapping[str, PluginRecord]
    config: Config
    #: Who asks, for the audit log: `cli:ada`, `demo`.
    actor: str
    #: Who is to hear what became of messages: the node that serves the deployment, where it is asked.
    changed: Callable[[Sequence[Change]], None] = lambda _: None

    def now(self) -> int:
        """The database's time, in microseconds."""
        return self.database.clock.now()

    @property
    def plugins(self) -> dict[str, ChannelPlugin]:
        """The plugins that are loaded, by id."""
        return {name: record.plugin for name, record in self.records.items() if record.plugin is not None}

    def plugin(self, plugin_id: str) -> ChannelPlugin:
        """A loaded plugin. Raises `PluginUnavailableError`."""
        record = self.records.get(plugin_id)
        if record is None:
            known = ", ".join(sorted(self.records)) or "none"
            raise PluginUnavailableError(f"There is no channel plugin {plugin_id!r}; installed are: {known}.")
        if record.plugin is None:
            mend = "add it to WAYPOST_CHANNELS" if record.state == "disabled" else record.reason
            raise PluginUnavailableError(f"The channel plugin {plugin_id} is {record.state}: {mend}.")
        if record.plugin.halted:
            raise PluginUnavailableError(f"The channel plugin {plugin_id} is disabled on this node: {record.reason}.")
        return record.plugin

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Look at the store."""
        return await self.database.read(work)

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Change the store in one transaction. Raises `ConflictError` where another change came in between."""
        try:
            return await self.database.write(work)
        except IntegrityError as error:
            raise ConflictError from error

    def record(
        self, conn: Connection, action: str, subject: str, detail: Mapping[str, Any], *, cached: bool = False
    ) -> None:
        """Append to the audit log, in the transaction of the change; `cached` says that nodes keep it in memory."""
        audit.add(conn, self.actor, action, subject, dict(detail), self.now())
        if cached:
            rates.raise_revision(conn)
