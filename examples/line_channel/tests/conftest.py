"""The provider on loopback, and an account there."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest
from waypost.plugin import CHANNELS_GROUP, Context, NoSettings

# The example is never installed into the workspace's environment: it is a stranger's distribution.
sys.path.insert(0, str(Path(__file__).parents[1]))

from waypost_line.channel import LineAccount, line
from waypost_line.simulator import LineSimulator

# The contract kit looks at installed plugins only; `tests/examples` installs the wheel and runs it.
collect_ignore = [] if metadata.entry_points(group=CHANNELS_GROUP, name="line") else ["test_contract.py"]


@pytest.fixture
async def provider() -> AsyncIterator[LineSimulator]:
    simulator = LineSimulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
def unopened(provider: LineSimulator) -> Context:
    return Context(
        gateway_id="gw_1", account=LineAccount.model_validate(provider.account_settings()), provider_app=NoSettings(),
        http=None, log=None, now=datetime(2026, 11, 22, tzinfo=UTC), correlation="msg_1.1.1",  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
async def opened(unopened: Context) -> AsyncIterator[Context]:
    client = await line.open_account(unopened)
    yield replace(unopened, client=client)
    await line.close_account(client)
