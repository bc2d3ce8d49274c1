"""API keys: digests only, and what stands behind one at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, text, update

from waypost.store.tables import api_key, app, organization


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of `api_key`; `shown` is the harmless beginning that people recognise it by."""

    id: str
    app_id: str
    digest: str
    shown: str
    mode: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


@dataclass(slots=True)
class Standing:
    """A key with its owners, as they stand now. An owner that is gone is None."""

    key_id: str
    app_id: str
    org_id: str | None
    mode: str
    expires_at: int | None
    revoked_at: int | None
    app_status: str | None
    org_status: str | None
    currency: str | None
    on_unknown: str | None


#: The columns of a `Standing`, of key k, app a and organization o.
STANDING = "k.id, k.app_id, o.id, k.mode, k.expires_at, k.revoked_at, a.status, o.status, o.currency, a.on_unknown"
_BY_DIGEST = text(
    f"SELECT {STANDING} FROM api_key k LEFT JOIN app a ON a.id = k.app_id"
    " LEFT JOIN organization o ON o.id = a.org_id WHERE k.digest = :digest"
)


def add(conn: Connection, row: ApiKey) -> None:
    """Store a new key's digest."""
    conn.execute(
        insert(api_key).values(
            id=row.id,
            app_id=row.app_id,
            digest=row.digest,
            shown=row.shown,
            mode=row.mode,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
    )


def standing_by_digest(conn: Connection, digest: str) -> Standing | None:
    """What stands behind the key of this digest."""
    row = conn.execute(_BY_DIGEST, {"digest": digest}).first()
    return Standing(*row) if row else None


def all_of_them(conn: Connection) -> list[tuple[ApiKey, str]]:
    """Every key with its app's name, oldest first."""
    rows = conn.execute(
        select(api_key, app.c.name)
        .join(app, app.c.id == api_key.c.app_id)
        .join(organization, organization.c.id == app.c.org_id)
        .order_by(api_key.c.id)
    )
    return [(ApiKey(*row[:-1]), row[-1]) for row in rows]


def by_reference(conn: Connection, reference: str) -> list[ApiKey]:
    """Find keys by id (at most one) or by their shown beginning (which several may share)."""
    rows = conn.execute(select(api_key).where((api_key.c.id == reference) | (api_key.c.shown == reference)))
    found = [ApiKey(*row) for row in rows]
    return [row for row in found if row.id == reference] or found


def revoke(conn: Connection, key_id: str, at: int) -> None:
    """Revoke a key from this moment on; an earlier revocation stays."""
    conn.execute(update(api_key).where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None)).values(revoked_at=at))


def set_expiry(conn: Connection, key_id: str, at: int) -> None:
    """Let a key expire at this moment."""
    conn.execute(update(api_key).where(api_key.c.id == key_id).values(expires_at=at))
