"""What `waypost.plugin` promises, pinned: names, signatures, fields, defaults and enum values.

A change of the public surface shows here as a diff of `plugin_surface.txt`, and so in review. Where it is meant, read
docs/plugins/versioning.md (what may change in which version), write the new surface with

    .venv/bin/python tests/support/plugin_surface.py

and commit it with the change.
"""

from __future__ import annotations

import difflib

from plugin_surface import PINNED, surface


def test_the_surface_is_as_pinned() -> None:
    pinned, now = PINNED.read_text(encoding="utf-8"), surface()
    changed = "\n".join(difflib.unified_diff(pinned.splitlines(), now.splitlines(), "pinned", "now", lineterm="", n=1))
    assert pinned == now, f"The public surface of waypost.plugin changed; {__doc__}\n{changed}"


def test_a_change_shows() -> None:
    """Every kind of promise is in the text."""
    text = surface()
    for line in (
        "from waypost.plugin.errors import RateLimited",
        "API_VERSION = (",
        "GSM_SINGLE, GSM_PART = (160, 153)",
        "    async def send(self, ctx: Context, message: OutboundMessage) -> SendResult",
        "    last_receipt: LastReceipt = 'delivered'",
        "    body: str = Field(min_length=1, max_length=65536)",
        "    EARLY_RECEIPTS = 'early_receipts'",
        "    self.retry_after",
        "ReceiptStatus = Literal['sent', 'delivered', 'read', 'undelivered', 'failed']",
    ):
        assert line in text, line
