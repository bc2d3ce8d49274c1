"""The handshake, the signature and the envelope."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost.plugin import (
    Challenge,
    NoSettings,
    Recognition,
    Rejected,
    UnknownEvent,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost.plugin.signatures import hmac_sign
from waypost_meta_graph import MetaAppSettings, entries, recognized, verify
from waypost_meta_graph.settings import GraphAccountSettings
from waypost_meta_graph.simulator import GraphSimulator, meta_bytes

VECTORS = json.loads((Path(__file__).parent / "fixtures" / "meta_hub_signature_vectors.json").read_text())


class Meta(GraphSimulator):
    """No product's: what signing and handshakes need."""

    def account_settings(self) -> dict[str, Any]:
        return {}

    def routes(self) -> tuple[()]:
        return ()


def context(**app: Any) -> WebhookContext:
    return WebhookContext(
        provider_app=MetaAppSettings(**app),
        account=None,
        log=logging.getLogger("test"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def posted(body: bytes, signature: str | None, name: str = "x-hub-signature-256") -> WebhookRequest:
    headers = ((name, signature),) if signature is not None else ()
    return WebhookRequest(method="POST", url="https://gw.example.test/hook", headers=headers, body=body)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["body"])
def test_published_vectors(case: dict[str, str]) -> None:
    request = posted(case["body"].encode(), "sha256=" + case["hex"])
    assert isinstance(verify(context(app_secrets=[VECTORS["secret"]]), request), Verified)
    assert isinstance(verify(context(app_secrets=["another"]), request), Rejected)


def test_every_live_secret_counts_during_a_rotation() -> None:
    body = b'{"object":"page"}'
    for signer, verdict in (("new", Verified), ("old", Verified), ("older", Rejected)):
        request = posted(body, "sha256=" + hmac_sign(signer, body))
        assert isinstance(verify(context(app_secrets=["new", "old"]), request), verdict)


@pytest.mark.parametrize("secrets", [[], [""], ["", ""]])
def test_without_a_secret_everything_is_rejected(secrets: list[str]) -> None:
    request = posted(b"{}", "sha256=" + hmac_sign("", b"{}"))
    assert verify(context(app_secrets=secrets), request) == Rejected("no app secret is configured", unconfigured=True)


@pytest.mark.parametrize(
    "signature", [None, "", "sha256=", "sha1=aa", "sha256=é", "sha256=" + "a" * 100_000, "f" * 64, "sha256=\udcff"]
)
def test_strange_signatures_are_rejected(signature: str | None) -> None:
    assert isinstance(verify(context(app_secrets=["s"]), posted(b"{}", signature)), Rejected)


@pytest.mark.parametrize("prefix", ["", "sha1=", "SHA256=", "sha256:", " sha256="])
def test_a_true_digest_under_another_name_is_rejected(prefix: str) -> None:
    digest = hmac_sign("s", b"{}")
    assert isinstance(verify(context(app_secrets=["s"]), posted(b"{}", f"sha256={digest}")), Verified)
    assert isinstance(verify(context(app_secrets=["s"]), posted(b"{}", prefix + digest)), Rejected)


@given(st.text(), st.binary())
def test_verification_never_raises(signature: str, body: bytes) -> None:
    assert isinstance(verify(context(app_secrets=["s"]), posted(body, signature)), Rejected)
    assert isinstance(verify(context(app_secrets=["s"]), posted(body, "sha256=" + signature)), Rejected)


def test_the_legacy_signature_is_ignored() -> None:
    request = posted(b"{}", "sha1=" + hmac_sign("s", b"{}", "sha1"), name="x-hub-signature")
    assert isinstance(verify(context(app_secrets=["s"]), request), Rejected)


def test_a_changed_body_is_rejected() -> None:
    request = posted(b'{"a":1} ', "sha256=" + hmac_sign("s", b'{"a":1}'))
    assert isinstance(verify(context(app_secrets=["s"]), request), Rejected)


def test_another_method_or_app_is_rejected() -> None:
    request = WebhookRequest(method="PUT", url="https://gw.example.test/hook")
    assert isinstance(verify(context(app_secrets=["s"]), request), Rejected)
    ctx = WebhookContext(provider_app=NoSettings(), account=None, log=None, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert isinstance(verify(ctx, request), Rejected)


def test_the_handshake_echoes_the_challenge() -> None:
    simulator = Meta()
    request = simulator.handshake("https://gw.example.test/hook", challenge="42")
    verdict = verify(context(**simulator.provider_app_settings()), request)
    assert isinstance(verdict, Challenge)
    assert verdict.reply.body == b"42"
    for wrong in (context(verify_token="other"), context(), context(verify_token="")):
        assert isinstance(verify(wrong, request), Rejected)


@pytest.mark.parametrize(
    "query",
    [
        {"mode": "unsubscribe", "verify_token": "v", "challenge": "42"},
        {"mode": "subscribe", "verify_token": "w", "challenge": "42"},
        {"mode": "subscribe", "challenge": "42"},
        {"verify_token": "v"},
        {},
    ],
)
def test_a_handshake_that_is_not_quite_one_is_rejected(query: dict[str, str]) -> None:
    named = tuple((f"hub.{name}", value) for name, value in query.items())
    request = WebhookRequest(method="GET", url="https://gw.example.test/", query=named)
    assert isinstance(verify(context(verify_token="v"), request), Rejected)


def test_an_empty_verify_token_never_matches_an_empty_one() -> None:
    query = (("hub.mode", "subscribe"), ("hub.challenge", "1"), ("hub.verify_token", ""))
    assert isinstance(verify(context(), WebhookRequest(method="GET", url="https://x.test", query=query)), Rejected)


def test_the_simulator_signs_metas_own_bytes() -> None:
    simulator = Meta()
    request = simulator.signed({"object": "page", "text": "é/\U0001f600"}, "https://gw.example.test/hook")
    assert request.body == b'{"object":"page","text":"\\u00e9\\/\\ud83d\\ude00"}'
    assert isinstance(verify(context(**simulator.provider_app_settings()), request), Verified)


def test_recognition() -> None:
    def account(entry: dict[str, Any]) -> str | None:
        return entry.get("id")

    body = meta_bytes({"object": "page", "entry": [7, {}, {"id": "p1"}, {"id": "p2"}]})
    found = recognized(posted(body, None), "page", account)
    assert found is not None
    assert found.account_ref == "p1"
    assert recognized(posted(body, None), "instagram", account) is None
    assert recognized(posted(b"\xff", None), "page", account) is None
    assert recognized(Meta().handshake("https://x.test"), "page", account) is not None
    assert recognized(WebhookRequest(method="GET", url="https://x.test"), "page", account) is None


def test_a_stranger_cannot_have_a_long_delivery_mended() -> None:
    """It is a candidate without an account: what it says is read once its signature is known to be good."""

    def account(entry: dict[str, Any]) -> str | None:
        return entry.get("id")

    def found(entry: str, name: str = "page", length: int = 300_000) -> Recognition | None:
        body = f'{{"object":"page","entry":[{{"id":"p1","x":{entry},"y":"{"y" * length}"}}]}}'
        return recognized(posted(body.encode(), None), name, account)

    deep = "[" * 2000 + "]" * 2000
    assert found("1") == Recognition("p1")
    assert found(deep) == Recognition(None)
    assert found(deep, length=1000) == Recognition("p1")
    assert found(deep, "instagram") is None
    assert recognized(posted(b"[" * 300_000, None), "page", account) is None


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"7", b'{"object":"x"}', b'{"object":"page"}', b'{"object":[]}'])
def test_what_is_no_envelope_is_kept_as_unknown(body: bytes) -> None:
    (event,) = entries(posted(body, None), "page")
    assert isinstance(event, UnknownEvent)
    assert event == next(iter(entries(posted(body, None), "page")))


def test_entries_that_are_no_objects_leave_their_neighbours_alone() -> None:
    body = b'{"object":"page","entry":[1,{"id":"a"},null]}'
    kinds = [isinstance(piece, UnknownEvent) for piece in entries(posted(body, None), "page")]
    assert kinds == [True, False, True]


@pytest.mark.parametrize("given_secrets", ["a b", "a,b", "a\nb\n", ["a", "b"], ("a", "b")])
def test_several_secrets_may_come_as_one_string(given_secrets: Any) -> None:
    app = MetaAppSettings(app_secrets=given_secrets)
    assert [secret.get_secret_value() for secret in app.app_secrets] == ["a", "b"]


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "é"])
def test_a_token_must_fit_a_header(token: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        GraphAccountSettings(access_token=token)
    assert "X: y" not in str(caught.value)


@pytest.mark.parametrize("field", [{"base_url": "graph"}, {"base_url": "https://g.test?x"}, {"api_version": "25"}])
def test_unusable_account_settings(field: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        GraphAccountSettings(access_token="t", **field)
