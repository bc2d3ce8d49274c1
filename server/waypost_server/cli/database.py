"""`waypost db`: the database's schema."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from waypost_server.cli.errors import CommandError
from waypost_server.cli.present import Json, present, say
from waypost_server.cli.reach import load_config
from waypost_server.node_lock import NodeLock, database_path

group = typer.Typer(help="The database and its schema.", no_args_is_help=True)


@group.command("upgrade")
def upgrade(*, as_json: Json = False) -> None:
    """Bring the database to this release's schema, making it where there is none."""
    config = load_config()
    lock = NodeLock(config.database_url) if config.database_url.startswith("sqlite") else None
    if lock is not None and not lock.take(patience=5.0):
        raise CommandError(
            f"Process {lock.holder()} works with {database_path(config.database_url)}; stop it before the upgrade."
        )
    try:
        done = asyncio.run(_upgrade(config.database_url))
    finally:
        if lock is not None:
            lock.release()
    present(done, _upgraded, as_json=as_json)


@group.command("status")
def status(*, as_json: Json = False) -> None:
    """Say whether the database has this release's schema; exit with 1 where it has not."""
    from waypost.store import migrate

    config = load_config()
    if config.database_url.startswith("sqlite") and not database_path(config.database_url).exists():
        found: dict[str, Any] = {"revision": None, "wanted": migrate.wanted_revision(), "current": False}
    else:
        found = asyncio.run(_status(config.database_url))
    present(found, _told, as_json=as_json)
    if not found["current"]:
        raise typer.Exit(1)


async def _upgrade(url: str) -> dict[str, Any]:
    from waypost.store import migrate
    from waypost.store.opening import open_database

    database = await open_database(url, patient=True)
    try:
        before = await database.read(migrate.current_revision)
        await database.write(migrate.upgrade)
        return {"before": before, "after": await database.read(migrate.current_revision)}
    finally:
        await database.close()


async def _status(url: str) -> dict[str, Any]:
    from waypost.store import migrate
    from waypost.store.opening import open_database

    database = await open_database(url)
    try:
        revision, wanted = await database.read(migrate.current_revision), migrate.wanted_revision()
        return {"revision": revision, "wanted": wanted, "current": revision == wanted}
    finally:
        await database.close()


def _upgraded(done: dict[str, Any]) -> None:
    if done["before"] == done["after"]:
        say(f"The schema already is at {done['after']}.")
    else:
        say(f"The schema went from {done['before'] or 'nothing'} to {done['after']}.")


def _told(found: dict[str, Any]) -> None:
    if found["current"]:
        say(f"The schema is at {found['revision']}, as this release wants it.")
    else:
        say(f"The schema is at {found['revision'] or 'nothing'}; this release wants {found['wanted']}: "
            "run `waypost db upgrade`.")  # fmt: skip
