"""Fixtures for the tests of every channel: a running gateway with all real plugins, and their documented webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from deployment import Deployment, RunDeployment
from documented import PLUGINS
from running_gateway import *  # noqa: F403


@pytest.fixture
def configured() -> Mapping[str, Any]:
    """Verdicts are waited for longer than a slow machine takes."""
    return {"wait": 20}


@pytest.fixture
async def gateway(run: RunDeployment) -> Deployment:
    """A gateway with every channel's own plugin, each with its simulator."""
    return await run(PLUGINS)
