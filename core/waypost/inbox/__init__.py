"""Providers' webhooks: recognize → verify → parse → place → store raw and apply → acknowledge; and listeners."""
