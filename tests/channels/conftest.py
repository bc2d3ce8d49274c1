"""Fixtures for the tests of every channel: a running gateway with all real plugins, and their documented webhooks."""

from __future__ import annotations

import pytest
from deployment import Deployment, RunDeployment
from documented import PLUGINS
from running_gateway import *  # noqa: F403


@pytest.fixture
async def gateway(run: RunDeployment) -> Deployment:
    """A gateway with every channel's own plugin, each with its simulator."""
    return await run(PLUGINS)
