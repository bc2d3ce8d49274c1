from __future__ import annotations

from waypost.testing import ChannelContract


class TestContract(ChannelContract):
    plugin = "email_sendgrid"
