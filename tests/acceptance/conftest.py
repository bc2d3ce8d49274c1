"""Fixtures for the acceptance tests: a gateway with every channel the documents name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from deployment import Deployment
from waypost.store.sqlite import SqliteDatabase
from world import Partner


@pytest.fixture
async def gateway(sqlite: SqliteDatabase) -> AsyncIterator[Deployment]:
    """A gateway with both of Twilio's channels and email, each with its simulator."""
    found = await Deployment.run(sqlite, ["sms_twilio", "whatsapp_twilio", "email_sendgrid"], wait=20)
    yield found
    await found.close()


@pytest.fixture
async def partner(gateway: Deployment) -> Partner:
    """A partner of `gateway` with credit, prices and routes."""
    return await gateway.newcomer()
