"""The class that a plugin's author subclasses."""

from __future__ import annotations

from waypost.testing.check import CHECKS
from waypost.testing.checks.faults import FaultChecks
from waypost.testing.checks.features import FeatureChecks
from waypost.testing.checks.listening import ListeningChecks
from waypost.testing.checks.loading import LoadingChecks
from waypost.testing.checks.pricing import PricingChecks
from waypost.testing.checks.receipts import ReceiptChecks
from waypost.testing.checks.sending import SendingChecks
from waypost.testing.checks.settings import SettingsChecks
from waypost.testing.checks.verification import VerificationChecks


class ChannelContract(
    LoadingChecks,
    SettingsChecks,
    PricingChecks,
    SendingChecks,
    FaultChecks,
    VerificationChecks,
    ReceiptChecks,
    ListeningChecks,
    FeatureChecks,
):
    """Everything that a channel plugin promises. Subclass it as `class TestContract(ChannelContract)` and set `plugin`.

    It needs no infrastructure: it drives the hooks directly, against the plugin's own simulator and a server of faults
    on loopback. Every method named `test_<id>` is one check; see `docs/plugins/testing.md`.
    """


def check_ids() -> frozenset[str]:
    """The ids of all checks."""
    return frozenset(CHECKS)
