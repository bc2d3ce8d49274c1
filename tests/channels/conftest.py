"""Fixtures for the tests of every channel: a running gateway with all real plugins, and their documented webhooks."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from deployment import Deployment, RunDeployment
from documented import PLUGINS
from sqlalchemy import create_engine
from waypost.store.database import Database
from waypost.store.migrate import upgrade
from waypost.store.sqlite import SqliteDatabase
from world import Partner


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
async def run(store: Database) -> AsyncIterator[RunDeployment]:
    """Run a gateway: `await run(["whatsapp"], wait=20)`."""
    running: list[Deployment] = []

    async def start(*arguments: object, **config: object) -> Deployment:
        running.append(await Deployment.run(store, *arguments, **({"wait": 20} | config)))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for deployment in running:
        await deployment.close()


@pytest.fixture
async def gateway(run: RunDeployment) -> Deployment:
    """A gateway with every channel's own plugin, each with its simulator."""
    return await run(PLUGINS)


@pytest.fixture
async def partner(gateway: Deployment) -> Partner:
    """A partner of `gateway` with credit, prices and routes."""
    return await gateway.newcomer()
