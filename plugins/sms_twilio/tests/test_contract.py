from __future__ import annotations

from waypost.testing import ChannelContract


class TestContract(ChannelContract):
    plugin = "sms_twilio"


class TestWhatsAppContract(ChannelContract):
    plugin = "whatsapp_twilio"
