"""Signature checks: published vectors, and whatever strangers send."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from waypost.plugin.signatures import ecdsa_matches, hmac_matches, hmac_sign, same

VECTORS = Path(__file__).parent / "vectors"


def vector(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


META = vector("meta_hub_signature_vectors")
SENDGRID = vector("sendgrid_event_webhook_sdk_vector")
TWILIO = vector("twilio_signature_sdk_vectors")


@pytest.mark.parametrize("case", META["cases"], ids=lambda case: case["body"])
def test_metas_vectors(case: dict[str, str]) -> None:
    body = case["body"].encode()
    assert hmac_sign(META["secret"], body) == case["hex"]
    assert hmac_matches([META["secret"]], body, case["hex"])
    assert hmac_matches(["other", SecretStr(META["secret"])], body, case["hex"])
    assert not hmac_matches(["other"], body, case["hex"])
    assert not hmac_matches([META["secret"]], body + b" ", case["hex"])


def test_twilios_vector() -> None:
    case = TWILIO["cases"][0]
    signed = case["url"] + "".join(key + value for key, value in sorted(case["params"].items()))
    assert hmac_matches([TWILIO["auth_token"]], signed.encode(), case["signature"], "sha1", "base64")


def test_sendgrids_vector() -> None:
    body = (SENDGRID["timestamp"] + SENDGRID["body"]).encode()
    key, other = SENDGRID["public_key"], SENDGRID["expect"]["other_public_key"]["key"]
    assert ecdsa_matches([key], body, SENDGRID["signature"])
    assert ecdsa_matches([other, key], body, SENDGRID["signature"])
    assert not ecdsa_matches([other], body, SENDGRID["signature"])
    assert not ecdsa_matches([key], body.strip(), SENDGRID["signature"])
    pem = f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----"
    assert ecdsa_matches([pem], body, SENDGRID["signature"])


def test_rfc_4231() -> None:
    """Test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_sign("Jefe", b"what do ya want for nothing?") == expected


@given(st.text() | st.none())
def test_no_forgery_matches_or_raises(given_: str | None) -> None:
    assert not hmac_matches(["secret"], b"body", given_)
    assert not ecdsa_matches([SENDGRID["public_key"]], b"body", given_)


@given(st.text())
def test_no_nonsense_key_matches_or_raises(key: str) -> None:
    assert not ecdsa_matches([key], b"body", SENDGRID["signature"])


@pytest.mark.parametrize("given_", ["é", "\ud800", "𝟘" * 64, ""])
def test_a_signature_need_not_be_ascii(given_: str) -> None:
    assert not hmac_matches(["secret"], b"body", given_)
    assert not same(given_, "secret")


def test_an_empty_secret_is_no_secret() -> None:
    forged = hmac_sign("", b"body")
    assert not hmac_matches(["", SecretStr("")], b"body", forged)
    assert not hmac_matches([], b"body", forged)


def test_a_key_of_another_kind_matches_nothing() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert not ecdsa_matches([base64.b64encode(raw).decode()], b"body", SENDGRID["signature"])
