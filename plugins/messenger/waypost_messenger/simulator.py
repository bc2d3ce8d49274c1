"""Messenger on loopback: echoes with our metadata, deliveries and reads by watermark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waypost.plugin.simulator import Outcome
from waypost_meta_graph.messaging_simulator import MessagingSimulator, random_id

from waypost_messenger.payloads import MESSENGER

#: The simulator's own app, as echoes name it.
APP_ID = 912004563310087

MAGIC: Mapping[str, Outcome] = {
    "7000000000000001": Outcome.ACCEPTED,
    "7000000000000002": Outcome.SENT,
    "7000000000000003": Outcome.DELIVERED,
    "7000000000000004": Outcome.READ,
    "7000000000000011": Outcome.INVALID_RECIPIENT,
    "7000000000000012": Outcome.CONTENT_REJECTED,
    "7000000000000013": Outcome.OUTSIDE_WINDOW,
    "7000000000000014": Outcome.MISCONFIGURED,
    "7000000000000015": Outcome.ACCOUNT_BLOCKED,
    "7000000000000016": Outcome.RATE_LIMITED,
    "7000000000000017": Outcome.RATE_LIMITED_ONCE,
    "7000000000000018": Outcome.UNAVAILABLE,
    "7000000000000021": Outcome.HANG,
    "7000000000000022": Outcome.ACCEPT_THEN_DROP,
    "7000000000000023": Outcome.GARBAGE,
    "7000000000000031": Outcome.DUPLICATE_RECEIPTS,
    "7000000000000032": Outcome.REORDERED_RECEIPTS,
    "7000000000000033": Outcome.LATE_RECEIPTS,
    "7000000000000034": Outcome.EARLY_RECEIPTS,
}


class MessengerSimulator(MessagingSimulator):
    """A Facebook Page at Meta. Messenger knows no failed receipts: what it accepts, it shows."""

    surface = MESSENGER
    magic = MAGIC
    ordinary_recipient = "7433201956612084"
    #: Those that Meta's pages name; reports say that all but the first are retired in 2026, and no page does.
    tags = frozenset({"HUMAN_AGENT", "ACCOUNT_UPDATE", "CONFIRMED_EVENT_UPDATE", "POST_PURCHASE_UPDATE"})
    account_prefix = "11820"

    def new_mid(self) -> str:
        """A message id in Messenger's form."""
        return "m_" + random_id(86)

    def account_settings(self) -> dict[str, Any]:
        """The Page's settings, towards this simulator."""
        return {**super().account_settings(), "page_id": self.account_id}

    def receipt_event(self, status: str, sending_to: str, mid: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """An echo for `sent`; watermarks for `delivered` and `read`."""
        if status == "sent":
            return self.from_account(sending_to, message=self._echo(mid, body))
        if status == "delivered":
            return self.from_person(sending_to, delivery={"mids": [mid], "watermark": self.milliseconds()})
        if status == "read":
            return self.from_person(sending_to, read={"watermark": self.milliseconds()})
        return None

    def _echo(self, mid: str, body: Mapping[str, Any]) -> dict[str, Any]:
        message = body["message"]
        echo: dict[str, Any] = {"is_echo": True, "app_id": APP_ID, "mid": mid}
        for key in ("metadata", "text"):
            if key in message:
                echo[key] = message[key]
        if "attachment" in message:
            echo["attachments"] = [message["attachment"]]
        return echo
