"""Opening a deployment's vault: a new key is made for what is new, and never beside secrets that another one sealed."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from waypost.config import Config
from waypost.log import logger
from waypost.store import gateways
from waypost.store.database import Database
from waypost.vault import Vault, VaultError, new_key

_LOG = logger()


def known_vault(config: Config) -> Vault | None:
    """The vault of the configured keys, or of those in the key file; None where there are none. Raises `VaultError`."""
    if config.master_keys:
        return Vault([key.get_secret_value() for key in config.master_keys])
    return Vault.of_file(config.master_key_file)


def passing_vault() -> Vault:
    """A vault that opens nothing and whose key is forgotten, for what needs none."""
    return Vault([new_key()])


class _UnmadeVault(Vault):
    """A vault whose key is made when it first seals something; until then it opens nothing."""

    def __init__(self, key_file: Path) -> None:
        super().__init__([new_key()])
        self._key_file: Path | None = key_file

    def seal(self, secret: str, place: str) -> str:
        if self._key_file is not None:
            made, self._key_file = _made(self._key_file), None
            self._ciphers, self._current = made._ciphers, made._current
        return super().seal(secret, place)


async def open_vault(config: Config, database: Database, *, at_once: bool = True) -> Vault:
    """The deployment's vault, at first use with a new key in the key file, which is logged.

    That key is made now, or else when something is sealed. Raises `VaultError`.
    """
    vault = known_vault(config)
    if vault is not None:
        return vault
    path = config.master_key_file.absolute()
    if await database.read(_has_secrets):
        raise VaultError(
            f"The database holds sealed secrets, and there is no master key in {path}; set WAYPOST_MASTER_KEYS or "
            "WAYPOST_MASTER_KEY_FILE to the key that sealed them, or, where it is lost, WAYPOST_MASTER_KEYS to a new "
            "one (`waypost vault new-key`), and give every gateway and provider app its secrets anew."
        )
    return _made(path) if at_once else _UnmadeVault(path)


def _made(path: Path) -> Vault:
    vault = Vault.open([], path)
    _LOG.warning("vault.key_created", path=str(path), told="A new master key was made; keep a copy of it.")
    return vault


def _has_secrets(conn: Connection) -> bool:
    of_gateways = (row.secrets for row in gateways.all_of_them(conn))
    of_apps = (row.secrets for row in gateways.provider_apps(conn))
    return any(of_gateways) or any(of_apps)
