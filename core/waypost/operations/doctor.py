"""The doctor: what is wrong with a deployment, or soon will be, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from sqlalchemy import Connection

from waypost.host import wrappers
from waypost.host.accounts import CredentialsUnusableError, account_settings, app_settings
from waypost.host.dispatch import ChannelPlugin
from waypost.operations import credentials
from waypost.operations.errors import one_stop
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import apps, health, ledger, migrate, organizations, rates
from waypost.store import gateways as gateway_rows
from waypost.store.database import StoreUnavailableError
from waypost.store.driver import is_postgres
from waypost.store.gateways import Gateway, ProviderApp
from waypost.store.migrate import SchemaMismatchError
from waypost.vault import VaultError, gateway_place, provider_app_place

#: Earlier versions can corrupt a database in WAL mode when two connections checkpoint at once.
SAFE_SQLITE = (3, 51, 3)

#: What is wrong; what soon will be, or may be meant; what is only said.
Level = Literal["error", "warning", "note"]


def _finding(level: Level, code: str, message: str) -> dict[str, Any]:
    return {"level": level, "code": code, "message": one_stop(message)}


@operation("doctor")
async def examine(operator: Operator) -> dict[str, Any]:
    """Examine configuration, database, plugins and books; an empty list of findings is a clean bill of health."""
    findings = _configuration(operator) + _plugins(operator)
    try:
        await operator.read(migrate.check)
    except SchemaMismatchError as mismatch:
        findings.append(_finding("error", "schema", str(mismatch)))
    else:
        findings += await operator.read(_schema)
        findings += await operator.read(lambda conn: _books(conn) + _gateways(conn, operator))
        findings += await operator.read(lambda conn: _unpriced(conn, operator))
    findings += await operator.read(_database)
    try:
        await operator.database.check_room()
    except StoreUnavailableError as short:
        findings.append(_finding("error", "room", f"{short}, and the node is not ready; make room for the database."))
    return {"ok": not any(item["level"] == "error" for item in findings), "findings": findings}


def _configuration(operator: Operator) -> list[dict[str, Any]]:
    findings = []
    config = operator.config
    if config.public_url is None:
        findings.append(
            _finding("warning", "public_url", "WAYPOST_PUBLIC_URL is not set: providers cannot report receipts or "
                     "inbound messages; set it to the https URL under which the world reaches this deployment.")
        )  # fmt: skip
    elif not config.public_url.lower().startswith("https://"):
        findings.append(
            _finding("warning", "public_url", "WAYPOST_PUBLIC_URL is not https; providers refuse or leak over http.")
        )
    if not config.master_keys:
        findings.append(
            _finding("warning", "master_keys", "WAYPOST_MASTER_KEYS is not set: secrets are sealed with the key in "
                     f"{config.master_key_file}; keep a copy of it apart from the database's backups.")
        )  # fmt: skip
        if config.database_url.startswith("postgresql"):
            findings.append(
                _finding("error", "master_keys", "Several nodes need the same vault key; set WAYPOST_MASTER_KEYS on "
                         "all of them (`waypost vault new-key` makes one).")
            )  # fmt: skip
    return findings


def _plugins(operator: Operator) -> list[dict[str, Any]]:
    enabled = operator.config.channels
    findings = [
        # What is made for another plugin API is in nobody's way while nobody enables it.
        _finding(
            "note" if record.state == "incompatible" and record.id not in enabled else "error",
            "plugin",
            f"The channel plugin {record.id} is {record.state}: {record.reason}.",
        )
        for record in operator.records.values()
        if record.state in ("failed", "incompatible") or (record.plugin is not None and record.plugin.halted)
    ]
    findings += [
        _finding("error", "plugin", f"WAYPOST_CHANNELS names {name}, which no installed distribution provides.")
        for name in enabled
        if name not in operator.records
    ]
    findings += [
        _finding("error", "wrapper", f"The {fault}; no node starts with it: install it, or take it out of "
                 "WAYPOST_WRAPPERS.")
        for fault in wrappers.faults(operator.config.wrappers)
    ]  # fmt: skip
    if not any(record.plugin for record in operator.records.values()):
        known = ", ".join(sorted(operator.records)) or "none"
        findings.append(
            _finding("warning", "plugin", f"No channel is enabled; name some in WAYPOST_CHANNELS (installed: {known}).")
        )
    return findings


def _schema(conn: Connection) -> list[dict[str, Any]]:
    if migrate.current_revision(conn) == migrate.wanted_revision():
        return []
    told = "The database's schema is of a newer release, beside which this one may run; upgrade this one soon."
    return [_finding("warning", "schema", told)]


def _books(conn: Connection) -> list[dict[str, Any]]:
    return [
        _finding("error", "ledger", f"The ledger entries of {org_id} do not add up to its balance; stop sending for "
                 "it (`waypost orgs suspend`) and report this.")
        for org_id in ledger.discrepancies(conn)
    ]  # fmt: skip


def _gateways(conn: Connection, operator: Operator) -> list[dict[str, Any]]:
    """What is wrong with gateways that are not disabled, and with the provider apps, those they need first."""
    findings = []
    rows = [row for row in gateway_rows.all_of_them(conn) if row.status != "disabled"]
    for row in rows:
        if row.status == "paused":
            told = f"Gateway {row.name} is paused ({row.status_reason}); its messages wait."
            findings.append(_finding("warning", "gateway", told))
        if _plugin(operator, row) is None:
            told = f"Gateway {row.name} needs the plugin {row.plugin}, which is not loaded."
            findings.append(_finding("error", "gateway", told))
        if problem := _problem(operator, row):
            findings.append(_finding("error", "gateway", f"Gateway {row.name} cannot be used: {problem}."))
    needed = {row.provider_app_id for row in rows}
    for app in gateway_rows.provider_apps(conn):
        if problem := _app_problem(operator, app):
            level: Level = "error" if app.id in needed else "warning"
            findings.append(_finding(level, "provider_app", f"Provider app {app.name} cannot be used: {problem}."))
    return findings


def _unpriced(conn: Connection, operator: Operator) -> list[dict[str, Any]]:
    """What is routed through gateways that have no price in the currency of the organization that would pay."""
    usable = {row.id: row.name for row in gateway_rows.all_of_them(conn) if row.status != "disabled"}
    payers = {row.id: row for row in organizations.all_of_them(conn)}
    paying = {row.id: payers[row.org_id] for row in apps.all_of_them(conn)}
    wanted = {
        (gateway_id, paying[route.app_id].currency): paying[route.app_id].name
        for route in rates.all_routes(conn)
        for gateway_id in route.gateway_ids
        if gateway_id in usable
    }
    priced = rates.priced(conn, operator.now())
    return [
        _finding("warning", "rates", f"Gateway {usable[gateway_id]} has no rate in {currency} that is valid now: no "
                 f"message of {payer} goes through it; add one with `waypost rates add`.")
        for (gateway_id, currency), payer in wanted.items()
        if (gateway_id, currency) not in priced
    ]  # fmt: skip


def _problem(operator: Operator, row: Gateway) -> str | None:
    plugin = _plugin(operator, row)
    if plugin is None:
        return _refused(lambda: credentials.unseal(operator.vault, row.settings, row.secrets, gateway_place(row.id)))
    if row.provider_app_id is None and (
        problem := _refused(lambda: app_settings(operator.vault, row.name, plugin, None))
    ):
        return f"its provider app: {problem}"
    return _refused(lambda: account_settings(operator.vault, plugin, row))


def _app_problem(operator: Operator, app: ProviderApp) -> str | None:
    plugin, place = _plugin(operator, app), provider_app_place(app.id)
    if plugin is None:
        return _refused(lambda: credentials.unseal(operator.vault, app.settings, app.secrets, place))
    return _refused(lambda: app_settings(operator.vault, app.name, plugin, app))


def _plugin(operator: Operator, row: Gateway | ProviderApp) -> ChannelPlugin | None:
    record = operator.records.get(row.plugin)
    return record.plugin if record is not None else None


def _refused(open_settings: Callable[[], object]) -> str | None:
    try:
        open_settings()
    except VaultError as error:
        return str(error)
    except CredentialsUnusableError as error:
        return error.problem
    return None


def _database(conn: Connection) -> list[dict[str, Any]]:
    if not is_postgres(conn):
        version = health.sqlite_version(conn)
        if version >= SAFE_SQLITE:
            return []
        shown = ".".join(map(str, version))
        return [
            _finding("error", "sqlite", f"SQLite {shown} can corrupt its write-ahead log; install 3.51.3 or newer.")
        ]
    found = health.postgres_health(conn)
    findings = []
    if found.encoding not in ("UTF8", "SQL_ASCII"):  # the latter stores what it is given
        findings.append(
            _finding("error", "encoding", f"PostgreSQL stores this database in {found.encoding}: messages with other "
                     "characters, such as emoji, are neither accepted nor received; make it anew with ENCODING 'UTF8'.")
        )  # fmt: skip
    if found.synchronous_standbys == 0:
        findings.append(
            _finding("warning", "standby", "PostgreSQL has no synchronous standby: a failover may lose the last "
                     "accepted messages; name one in synchronous_standby_names.")
        )  # fmt: skip
    if not found.fsync:
        findings.append(_finding("error", "fsync", "PostgreSQL runs with fsync off: a power cut loses messages."))
    if found.synchronous_commit == "off":
        findings.append(
            _finding(
                "error", "synchronous_commit", "PostgreSQL answers before it has stored; set synchronous_commit on."
            )
        )
    return findings
