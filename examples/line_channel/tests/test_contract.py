"""What every channel plugin is held to. Runs where the wheel is installed, as in `tests/examples`."""

from __future__ import annotations

from waypost.testing import ChannelContract


class TestContract(ChannelContract):
    plugin = "line"
