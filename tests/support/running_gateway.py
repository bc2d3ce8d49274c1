"""Fixtures of tests that speak to a running gateway: on SQLite, and on PostgreSQL too where a test is marked so.

A conftest imports them all and adds `gateway`, the deployment that its tests mean where they do not run their own.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from deployment import Deployment, RunDeployment
from sqlalchemy import create_engine
from waypost.store.database import Database
from waypost.store.migrate import upgrade
from waypost.store.sqlite import SqliteDatabase
from world import Partner

__all__ = ["configured", "migrated", "partner", "pytest_generate_tests", "run", "sqlite", "store"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("postgres") is not None
        metafunc.parametrize("store", ["sqlite", "postgres"] if both else ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "waypost.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        upgrade(conn)
    engine.dispose()
    return path


@pytest.fixture
async def sqlite(migrated: Path, tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "waypost.db"
    shutil.copy(migrated, path)
    database = SqliteDatabase.open(f"sqlite:///{path}")
    yield database
    await database.close()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Database:
    """A fresh, migrated database with a running clock."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def configured() -> Mapping[str, Any]:
    """The configuration of every gateway that is run, where its test says nothing else.

    Verdicts are waited for longer than a slow machine takes.
    """
    return {"wait": 20}


@pytest.fixture
async def run(store: Database, configured: Mapping[str, Any]) -> AsyncIterator[RunDeployment]:
    """Run a gateway: `await run(["sms_twilio"], [FakeChannel(...)], wait=0.1)`."""
    running: list[Deployment] = []

    async def start(*arguments: Any, **config: Any) -> Deployment:
        running.append(await Deployment.run(store, *arguments, **{**configured, **config}))
        return running[-1]

    yield start
    for deployment in running:
        await deployment.close()


@pytest.fixture
async def partner(gateway: Deployment) -> Partner:
    """A partner of `gateway` with credit, prices and routes."""
    return await gateway.newcomer()
