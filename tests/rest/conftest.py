"""Fixtures for the tests of the REST side: a running gateway on SQLite; on PostgreSQL too where a test is marked so."""

from __future__ import annotations

import pytest
from deployment import Deployment, RunDeployment
from running_gateway import *  # noqa: F403


@pytest.fixture
async def gateway(run: RunDeployment) -> Deployment:
    """A gateway with both of Twilio's channels."""
    return await run(["sms_twilio", "whatsapp_twilio"])
