"""Checks of providers' signatures: constant-time, over bytes, and never raising for what a stranger sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from pydantic import SecretStr

Algorithm = Literal["sha1", "sha256", "sha512"]
Encoding = Literal["hex", "base64"]


def same(given: str | bytes, expected: str | bytes) -> bool:
    """Whether two secrets are equal, in constant time, whatever characters a stranger sent."""
    return hmac.compare_digest(_bytes(given), _bytes(expected))


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def hmac_sign(secret: str, message: bytes, algorithm: Algorithm = "sha256", encoding: Encoding = "hex") -> str:
    """The HMAC (RFC 2104) of a message, as text."""
    digest = hmac.digest(secret.encode(), message, algorithm)
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()


def hmac_matches(
    secrets: Iterable[SecretStr | str],
    message: bytes,
    given: str | None,
    algorithm: Algorithm = "sha256",
    encoding: Encoding = "hex",
) -> bool:
    """Whether `given` is the HMAC of the message under any of the live secrets; an empty secret never matches."""
    if not given:
        return False
    matched = False
    for secret in secrets:
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if value:
            matched |= same(given, hmac_sign(value, message, algorithm, encoding))
    return matched


def ecdsa_matches(public_keys: Iterable[str], message: bytes, given: str | None) -> bool:
    """Whether `given` (base64 of DER) is an ECDSA P-256/SHA-256 signature by any of the keys.

    A key is PEM, or base64 of a DER SubjectPublicKeyInfo. A key that cannot be read matches nothing.
    """
    if not given:
        return False
    try:
        signature = base64.b64decode(_bytes(given), validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(_ecdsa_matches(key, message, signature) for key in public_keys)


def _ecdsa_matches(key: str, message: bytes, signature: bytes) -> bool:
    try:
        encoded = key.strip().encode()
        is_pem = encoded.startswith(b"-----")
        public = load_pem_public_key(encoded) if is_pem else load_der_public_key(base64.b64decode(encoded))
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, binascii.Error):
        return False
    return True


def sha256_hex(message: bytes) -> str:
    """The SHA-256 of a message, in hexadecimal."""
    return hashlib.sha256(message).hexdigest()
