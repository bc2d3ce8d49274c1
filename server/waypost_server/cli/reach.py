"""Reaching the deployment: through the node that serves a SQLite file where one does, else through the database."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from waypost_server.cli.errors import CommandError
from waypost_server.node_lock import NodeLock, database_path, short_path, socket_path

if TYPE_CHECKING:
    from waypost.config import Config

#: How long a command waits for a node that is just starting or stopping, in seconds.
PATIENCE = 15.0
#: How long an operation may take on a node, in seconds.
SLOWEST = 120.0
#: Operations that look at plugins; only for these are the enabled ones imported.
_WITH_PLUGINS = (
    "gateways.", "provider-apps.", "rates.add", "rates.import", "channels.", "webhooks.", "messages.cancel", "doctor",
)  # fmt: skip

#: Operations that may seal secrets, and need the deployment's vault.
_WITH_SECRETS = ("gateways.", "provider-apps.")


def load_config(**overrides: Any) -> Config:
    """The deployment's configuration. Raises `CommandError` or pydantic's `ValidationError`."""
    import tomllib

    from pydantic_settings import SettingsError
    from waypost.config import Config

    try:
        return Config(**{name: value for name, value in overrides.items() if value is not None})
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"waypost.toml is not TOML: {error}.") from error
    except UnicodeDecodeError as error:
        raise CommandError("waypost.toml is not UTF-8 text; save it as that.") from error
    except SettingsError as error:
        raise CommandError(f"The configuration is wrong: {error}.") from error


def actor() -> str:
    """Who asks, for the audit log."""
    try:
        return f"cli:{getpass.getuser().encode(errors='replace').decode()}"
    except (KeyError, OSError):
        return f"cli:uid {os.getuid()}"


def ask(operation: str, **arguments: Any) -> Any:
    """Do an operation on this deployment and return its answer; arguments that are None are left out."""
    config = load_config()
    _check_text(arguments)
    given = {name: value for name, value in arguments.items() if value is not None}
    if not config.database_url.startswith("sqlite"):
        return asyncio.run(_directly(config, operation, given))
    path = database_path(config.database_url)
    if not path.exists():
        raise CommandError(f"There is no database at {path}; make one with `waypost db upgrade` or `waypost serve`.")
    lock = NodeLock(config.database_url)
    until = time.monotonic() + PATIENCE
    while not lock.share():
        answer = _through_node(config, operation, given)
        if answer is not None:
            return _unpacked(answer)
        if time.monotonic() > until:
            raise CommandError(
                f"Process {lock.holder()} serves {path} and does not answer; look at it, then try again."
            )
        time.sleep(0.1)
    try:
        return asyncio.run(_directly(config, operation, given))
    finally:
        lock.release()


def _check_text(arguments: dict[str, Any]) -> None:
    """Raise `CommandError` for an argument that was not text: no database could hold it."""
    for name, value in arguments.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise CommandError(
                f"What is given for {name.replace('_', ' ')} is not UTF-8 text; write it again."
            ) from None


def _through_node(config: Config, operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The node's answer; None while nobody listens."""
    request = json.dumps({"operation": operation, "arguments": arguments, "actor": actor()}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SLOWEST)
        try:
            with short_path(socket_path(config.database_url)) as path:
                connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError as error:
            raise CommandError("The node belongs to another user; run this command as that user.") from error
        try:
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as error:
            raise CommandError(f"The node did not answer within {SLOWEST:g} s; look at its log.") from error
        except ConnectionError as error:
            raise CommandError("The node broke off; look whether it was done before you try again.") from error
    if not line:
        raise CommandError("The node broke off; look whether it was done before you try again.")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _unpacked(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise CommandError(answer["error"]["message"])
    return answer["result"]


async def _directly(config: Config, operation: str, arguments: dict[str, Any]) -> Any:
    from waypost import log
    from waypost.host.loader import load_channels
    from waypost.keyring import known_vault, open_vault, passing_vault
    from waypost.operations import Operator, call
    from waypost.store import migrate
    from waypost.store.opening import open_database

    log.configure("warning")  # to standard error, which structlog by itself would not
    database = await open_database(config.database_url, patient=True)
    try:
        if operation != "doctor":
            await database.read(migrate.check)
        if operation.startswith(_WITH_SECRETS):
            vault = await open_vault(config, database, at_once=False)
        else:  # which makes no key, and looks whether what is configured is one
            vault = known_vault(config) or passing_vault()
        wanted = operation.startswith(_WITH_PLUGINS)
        records = load_channels(config.channels, pinned=config.channel_distributions) if wanted else {}
        operator = Operator(database=database, vault=vault, records=records, config=config, actor=actor())
        return await call(operator, operation, arguments)
    finally:
        await database.close()
