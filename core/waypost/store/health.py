"""What the database itself says of its health: for `doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class PostgresHealth:
    """What keeps committed transactions safe on this PostgreSQL, and in which encoding it stores text."""

    version: str
    encoding: str
    fsync: bool
    synchronous_commit: str
    synchronous_standbys: int


def postgres_health(conn: Connection) -> PostgresHealth:
    """Ask a PostgreSQL how safe its commits are."""

    def setting(name: str) -> str:
        return str(conn.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())

    named = setting("synchronous_standby_names").strip() != ""
    standbys = conn.execute(
        text("SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')")
    ).scalar_one()
    return PostgresHealth(
        version=setting("server_version"),
        encoding=setting("server_encoding"),
        fsync=setting("fsync") == "on",
        synchronous_commit=setting("synchronous_commit"),
        synchronous_standbys=int(standbys) if named else 0,
    )


def sqlite_version(conn: Connection) -> tuple[int, ...]:
    """The version of the SQLite library at work."""
    version = str(conn.execute(text("SELECT sqlite_version()")).scalar_one())
    return tuple(int(part) for part in version.split("."))
