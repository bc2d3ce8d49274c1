"""Twilio on loopback: Messages, accounts and Content API, with signed callbacks and magic numbers."""

from waypost_sms_twilio.simulator.server import TwilioSimulator, TwilioWhatsAppSimulator

__all__ = ["TwilioSimulator", "TwilioWhatsAppSimulator"]
