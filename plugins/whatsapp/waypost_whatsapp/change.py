"""One change of a webhook: a field of a business account, with its value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from waypost.plugin import UnknownEvent
from waypost_meta_graph import unknown
from waypost_meta_graph.pieces import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change and where it belongs: the business account, and the phone number where it names one."""

    field: str
    value: dict[str, Any]
    waba_id: str | None
    account_ref: str | None
    entry_time: Any = None

    @property
    def occurred_at(self) -> datetime | None:
        """When Meta made the entry, where it says so."""
        return moment(self.entry_time)

    @property
    def stamp(self) -> str | None:
        """The entry's time as part of an id: the same news on another day is another event."""
        moment_of_entry = self.occurred_at
        return moment_of_entry.isoformat() if moment_of_entry else None

    def unknown(self, reason: str, piece: Any) -> UnknownEvent:
        """Keep a piece that nobody here knows."""
        return unknown(reason, piece, account_ref=self.account_ref)
