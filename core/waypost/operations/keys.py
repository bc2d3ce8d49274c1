"""API keys: made once, shown once, ended at will."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection

from waypost.access import make_key
from waypost.ids import new_id
from waypost.operations import references, words
from waypost.operations.errors import InvalidArgumentError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import keys
from waypost.store.keys import ApiKey


def shown(row: ApiKey, app: str, now: int) -> dict[str, Any]:
    """A key without its secret, as it is shown."""
    if row.revoked_at is not None:
        state = "revoked"
    elif row.expires_at is not None and row.expires_at <= now:
        state = "expired"
    else:
        state = "active"
    return {
        "id": row.id,
        "shown": row.shown,
        "app": app,
        "app_id": row.app_id,
        "mode": row.mode,
        "state": state,
        "expires_at": words.shown_moment(row.expires_at),
        "revoked_at": words.shown_moment(row.revoked_at),
        "created_at": words.shown_moment(row.created_at),
    }


@operation("keys.create")
async def create(
    operator: Operator, *, app: str, mode: Literal["live", "test"] = "live", expires: str | None = None
) -> dict[str, Any]:
    """Make an API key; its `secret` is in this answer and nowhere else ever again."""
    now = operator.now()
    made = make_key(mode)
    expires_at = _future(expires, now) if expires is not None else None
    key_id = new_id("key")

    def work(conn: Connection) -> dict[str, Any]:
        owner = references.app(conn, app)
        row = ApiKey(key_id, owner.id, made.digest, made.shown, mode, now, expires_at, None)
        keys.add(conn, row)
        operator.record(
            conn, "keys.create", key_id,
            {"app": owner.id, "mode": mode, "shown": made.shown, "expires_at": words.shown_moment(expires_at)},
        )  # fmt: skip
        return shown(row, owner.name, now)

    return {"secret": made.secret} | await operator.change(work)


@operation("keys.list")
async def list_all(operator: Operator, *, app: str | None = None) -> list[dict[str, Any]]:
    """List the API keys, of all apps or of one, oldest first; never their secrets."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        only = references.app(conn, app).id if app is not None else None
        return [shown(row, name, operator.now()) for row, name in keys.all_of_them(conn) if only in (None, row.app_id)]

    return await operator.read(work)


@operation("keys.revoke")
async def revoke(operator: Operator, *, key: str) -> dict[str, Any]:
    """Refuse a key from the next request on."""
    now = operator.now()

    def work(conn: Connection) -> dict[str, Any]:
        row = references.key(conn, key)
        if row.revoked_at is None:
            keys.revoke(conn, row.id, now)
            operator.record(conn, "keys.revoke", row.id, {"shown": row.shown})
        return _shown_now(conn, row.id, now)

    return await operator.change(work)


@operation("keys.expire")
async def expire(operator: Operator, *, key: str, at: str) -> dict[str, Any]:
    """Let a key expire at a moment, such as `24h` from now while a partner changes over to its new one."""
    now = operator.now()
    expires_at = words.moment(at, now, "at")

    def work(conn: Connection) -> dict[str, Any]:
        row = references.key(conn, key)
        keys.set_expiry(conn, row.id, expires_at)
        operator.record(conn, "keys.expire", row.id, {"shown": row.shown, "expires_at": words.shown_moment(expires_at)})
        return _shown_now(conn, row.id, now)

    return await operator.change(work)


def _shown_now(conn: Connection, key_id: str, now: int) -> dict[str, Any]:
    row = references.key(conn, key_id)
    return shown(row, references.app(conn, row.app_id).name, now)


def _future(text: str, now: int) -> int:
    at = words.moment(text, now, "expires")
    if at <= now:
        raise InvalidArgumentError("expires", "it is in the past; write a later moment")
    return at
