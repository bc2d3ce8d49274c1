"""Instagram on loopback: echoes without metadata, `seen` by message id, nothing on delivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waypost.plugin.simulator import Outcome
from waypost_meta_graph.messaging_contents import LIKE_HEART
from waypost_meta_graph.messaging_simulator import SEND_REFUSALS, MessagingSimulator, random_id
from waypost_meta_graph.simulator import Refusal

from waypost_instagram.payloads import INSTAGRAM

MAGIC: Mapping[str, Outcome] = {
    "8000000000000001": Outcome.ACCEPTED,
    "8000000000000002": Outcome.SENT,
    "8000000000000004": Outcome.READ,
    "8000000000000011": Outcome.INVALID_RECIPIENT,
    "8000000000000012": Outcome.CONTENT_REJECTED,
    "8000000000000013": Outcome.OUTSIDE_WINDOW,
    "8000000000000014": Outcome.MISCONFIGURED,
    "8000000000000015": Outcome.ACCOUNT_BLOCKED,
    "8000000000000016": Outcome.RATE_LIMITED,
    "8000000000000017": Outcome.RATE_LIMITED_ONCE,
    "8000000000000018": Outcome.UNAVAILABLE,
    "8000000000000021": Outcome.HANG,
    "8000000000000022": Outcome.ACCEPT_THEN_DROP,
    "8000000000000023": Outcome.GARBAGE,
    "8000000000000031": Outcome.DUPLICATE_RECEIPTS,
    "8000000000000032": Outcome.REORDERED_RECEIPTS,
    "8000000000000033": Outcome.LATE_RECEIPTS,
    "8000000000000034": Outcome.EARLY_RECEIPTS,
}


class InstagramSimulator(MessagingSimulator):
    """An Instagram professional account at Meta. Its ordinary recipient reads what is sent."""

    surface = INSTAGRAM
    magic = MAGIC
    refusals: Mapping[Outcome, Refusal] = {
        **SEND_REFUSALS,
        Outcome.INVALID_RECIPIENT: Refusal(400, 100, "(#100) The requested user cannot be found.", subcode=2534014),
        Outcome.CONTENT_REJECTED: Refusal(200, 36000, "The image size is too large."),
        Outcome.OUTSIDE_WINDOW: Refusal(
            403, 10, "(#10) This message is sent outside of allowed window.", subcode=2534022
        ),
        Outcome.MISCONFIGURED: Refusal(
            403, 200, "(#200) App does not have Advanced Access to instagram_manage_messages permission"
        ),
        Outcome.UNAVAILABLE: Refusal(500, 2, "Service temporarily unavailable", subcode=1545133),
    }
    ordinary_recipient = "1002233445566778"
    account_prefix = "1784140"

    def new_mid(self) -> str:
        """A message id in Instagram's form: long, like base64."""
        return "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlEO" + random_id(110) + "ZD"

    def account_settings(self) -> dict[str, Any]:
        """The account's settings, towards this simulator."""
        return {**super().account_settings(), "ig_id": self.account_id}

    def receipts_for(self, outcome: Outcome) -> tuple[str, ...]:
        """Instagram tells nothing of delivery: what another provider calls delivered, here is seen."""
        if outcome is Outcome.READ:
            return ("sent", "read")
        return tuple("read" if status == "delivered" else status for status in super().receipts_for(outcome))

    def receipt_event(self, status: str, sending_to: str, mid: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """An echo for `sent`, the message id for `read`."""
        if status == "sent":
            message = {"mid": mid, **{key: body["message"][key] for key in ("text",) if key in body["message"]}}
            return self.from_account(sending_to, message={**message, "is_echo": True})
        if status == "read":
            return self.from_person(sending_to, read={"mid": mid})
        return None

    def attachment_types(self) -> frozenset[str]:
        """Messenger's, the heart, and a post of one's own."""
        return frozenset({*super().attachment_types(), LIKE_HEART, "MEDIA_SHARE"})
