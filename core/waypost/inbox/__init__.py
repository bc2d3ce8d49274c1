"""Providers' webhooks: recognize → verify → store raw → ack → parse → dedupe → apply."""
