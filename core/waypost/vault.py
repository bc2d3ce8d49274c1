"""The vault: secrets are encrypted where they are stored, and readable only through here.

AES-256-GCM. What is encrypted is bound to its place (table and row), so that a ciphertext copied into another row does
not open. Each ciphertext names its key, so that a new key can be put first while old ones still read.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_NO_KEY = "A master key is not base64 of 32 bytes; make one with `waypost vault new-key`, or copy the old one again."

#: What a file system says that knows no second name of a file, such as FAT.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class VaultError(Exception):
    """A secret cannot be opened: its key is missing or it was moved; put the key that sealed it into master_keys."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or type(self).__doc__)


class Vault:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise VaultError("the vault has no key; set WAYPOST_MASTER_KEYS")
        decoded = [_decode(key) for key in keys]
        self._ciphers = {_key_id(key): AESGCM(key) for key in decoded}
        self._current = _key_id(decoded[0])

    @classmethod
    def open(cls, keys: Sequence[str], key_file: Path) -> Vault:
        """Use the given keys, or else those of the file, which is created with a new key if it is not there."""
        if keys:
            return cls(keys)
        vault = cls.of_file(key_file)
        if vault is None:
            try:
                with contextlib.suppress(FileExistsError):  # another process was quicker: its key it is
                    _make_file(key_file)
            except OSError as error:
                raise VaultError(_unusable(key_file, error.strerror)) from error
            vault = cls.of_file(key_file)
            if vault is None:
                raise VaultError(_unusable(key_file, "it is a link to a file that is not there"))
        return vault

    @classmethod
    def of_file(cls, key_file: Path) -> Vault | None:
        """Use the keys in a file; None where it is not there. Raises `VaultError`."""
        try:
            keys = key_file.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(_unusable(key_file, error.strerror)) from error
        except ValueError as error:  # neither ASCII, nor even a path
            raise VaultError(_unusable(key_file, "it does not hold what `waypost vault new-key` prints")) from error
        if not keys:
            raise VaultError(_unusable(key_file, "it is empty"))
        try:
            return cls(keys)
        except VaultError as error:
            raise VaultError(_unusable(key_file, str(error))) from error

    def seal(self, secret: str, place: str) -> str:
        """Encrypt a secret for one place, such as `gateway/gw_…`."""
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._current].encrypt(nonce, secret.encode(), place.encode())
        return f"{self._current}:{base64.b64encode(nonce + sealed).decode()}"

    def unseal(self, sealed: str, place: str) -> str:
        """Decrypt what was sealed for this place. Raises `VaultError`."""
        key_id, _, payload = sealed.partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise VaultError
        try:
            raw = base64.b64decode(payload, validate=True)
            return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], place.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError) as error:
            raise VaultError from error


def gateway_place(gateway_id: str) -> str:
    """The place that a gateway's secrets are sealed for."""
    return f"gateway/{gateway_id}"


def provider_app_place(provider_app_id: str) -> str:
    """The place that a provider app's secrets are sealed for."""
    return f"provider_app/{provider_app_id}"


def new_key() -> str:
    """A new key for `master_keys`."""
    return base64.b64encode(AESGCM.generate_key(256)).decode()


def _decode(key: str) -> bytes:
    try:
        raw = base64.b64decode(key, validate=True)
    except ValueError as error:  # binascii's, and that for what is not ASCII
        raise VaultError(_NO_KEY) from error
    if len(raw) != 32:
        raise VaultError(_NO_KEY)
    return raw


def _make_file(key_file: Path) -> None:
    """Write a new key into a file that is not there yet, as safely as what it will seal; only its owner reads it.

    It gets its name once all is in it, where the file system can do that, so that nobody finds half a key. Raises
    `FileExistsError`.
    """
    key_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f"{key_file.name}.", dir=key_file.parent)
    try:
        _write_key(descriptor)
        try:
            os.link(draft, key_file)  # unlike a renaming, it replaces no other's key
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _write_key(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    finally:
        Path(draft).unlink()
    folder = os.open(key_file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_key(descriptor: int) -> None:
    with os.fdopen(descriptor, "w") as file:
        file.write(new_key() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _unusable(key_file: Path, why: str | None) -> str:
    told = (why or "").rstrip(".")
    return f"The master key file {key_file} cannot be used ({told}); look at it, and at WAYPOST_MASTER_KEY_FILE."


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"waypost-key-id" + key).hexdigest()[:8]
