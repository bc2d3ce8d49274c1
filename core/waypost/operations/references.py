"""References: a name or an id that an operator wrote, to the row that is meant."""

from __future__ import annotations

from sqlalchemy import Connection

from waypost.operations.errors import AmbiguousError, NotFoundError
from waypost.store import apps, gateways, keys, organizations
from waypost.store.apps import App
from waypost.store.gateways import Gateway, ProviderApp
from waypost.store.keys import ApiKey
from waypost.store.organizations import Organization


def organization(conn: Connection, reference: str) -> Organization:
    """The organization of this name or id. Raises `NotFoundError`."""
    found = organizations.by_reference(conn, reference)
    if found is None:
        raise NotFoundError("organization", reference, "orgs")
    return found


def app(conn: Connection, reference: str) -> App:
    """The app of this name or id. Raises `NotFoundError` or `AmbiguousError`."""
    found = apps.by_reference(conn, reference)
    if not found:
        raise NotFoundError("app", reference, "apps")
    if len(found) > 1:
        raise AmbiguousError("app", reference, (row.id for row in found))
    return found[0]


def key(conn: Connection, reference: str) -> ApiKey:
    """The API key of this id or shown beginning. Raises `NotFoundError` or `AmbiguousError`."""
    found = keys.by_reference(conn, reference)
    if not found:
        raise NotFoundError("API key", reference, "keys")
    if len(found) > 1:
        raise AmbiguousError("API key", reference, (row.id for row in found))
    return found[0]


def gateway(conn: Connection, reference: str, *, locked: bool = False) -> Gateway:
    """The gateway of this name or id, `locked` where it is about to be changed. Raises `NotFoundError`."""
    found = gateways.by_reference(conn, reference, locked=locked)
    if found is None:
        raise NotFoundError("gateway", reference, "gateways")
    return found


def provider_app(conn: Connection, reference: str, *, locked: bool = False) -> ProviderApp:
    """The provider app of this name or id, `locked` where it is about to be changed. Raises `NotFoundError`."""
    found = [row for row in gateways.provider_apps(conn, locked=locked) if reference in (row.id, row.name)]
    if not found:
        raise NotFoundError("provider app", reference, "provider-apps")
    return min(found, key=lambda row: row.id != reference)
