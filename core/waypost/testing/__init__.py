"""The contract kit: what every channel plugin is held to. Needs pytest and hypothesis (`pip install waypost[testing]`).

::

    from waypost.testing import ChannelContract


    class TestContract(ChannelContract):
        plugin = "acme_sms"

The class is imported when it is asked for: pytest loads this package in every run, for its options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waypost.testing.contract import ChannelContract

__all__ = ["ChannelContract"]


def __getattr__(name: str) -> Any:
    """Import the contract when it is first asked for."""
    if name == "ChannelContract":
        from waypost.testing.contract import ChannelContract

        return ChannelContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
