"""Meta's webhooks: the handshake, the signature, the envelope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from waypost.plugin import (
    Challenge,
    Recognition,
    Rejected,
    SecretStr,
    UnknownEvent,
    Verified,
    WebhookContext,
    WebhookReply,
    WebhookRequest,
    WebhookVerdict,
)
from waypost.plugin.received import read_json
from waypost.plugin.signatures import hmac_matches, same

from waypost_meta_graph.identity import piece_id
from waypost_meta_graph.pieces import items, load_object, read_object
from waypost_meta_graph.settings import MetaAppSettings

SIGNATURE_HEADER = "x-hub-signature-256"
_SCHEME = "sha256="
#: The longest delivery, in bytes, that is mended to be read before anybody has verified it.
_MENDED_UNVERIFIED = 256 * 1024


def verify(ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
    """Decide on a delivery by the app secrets in `ctx.provider_app`; never raises for what a stranger sent.

    Source: Meta Graph API, Webhooks, "Validate Payloads": HMAC-SHA256 of the raw body under the app secret.
    """
    app = ctx.provider_app
    if not isinstance(app, MetaAppSettings):
        return Rejected("no Meta app is configured", unconfigured=True)
    if request.method == "GET":
        return _shaken(request, app.verify_token)
    if request.method == "POST" and not any(secret.get_secret_value() for secret in app.app_secrets):
        return Rejected("no app secret is configured", unconfigured=True)
    reason = _fault(app, request)
    return Rejected(reason) if reason else Verified()


def _shaken(request: WebhookRequest, verify_token: SecretStr | None) -> WebhookVerdict:
    """Answer the GET handshake: echo `hub.challenge` when mode and token are right.

    Source: Meta Graph API, Webhooks, "Verification Requests".
    """
    expected = verify_token.get_secret_value() if verify_token else ""
    if not expected:
        return Rejected("no verify token is configured", unconfigured=True)
    if request.parameter("hub.mode") != "subscribe":
        return Rejected("not a subscription handshake")
    if not same(request.parameter("hub.verify_token") or "", expected):
        return Rejected("wrong verify token")
    challenge = request.parameter("hub.challenge") or ""
    return Challenge(WebhookReply(200, challenge.encode("utf-8", "replace")))


def _fault(app: MetaAppSettings, request: WebhookRequest) -> str | None:
    if request.method != "POST":
        return "neither GET nor POST"
    given = request.only_header(SIGNATURE_HEADER)
    if not given or not given.startswith(_SCHEME):
        return "no sha256 signature"
    if not hmac_matches(app.app_secrets, request.body, given.removeprefix(_SCHEME)):
        return "the signature does not match any live app secret"
    return None


def recognized(
    request: WebhookRequest, object_name: str, account_of: Callable[[dict[str, Any]], str | None]
) -> Recognition | None:
    """Say whether a delivery looks like one of this object's, and for which account (untrusted).

    `account_of` reads an account from one entry; the first entry that names one decides. A handshake is anybody's.
    """
    if request.method == "GET":
        return Recognition() if request.parameter("hub.mode") else None
    if len(request.body) > _MENDED_UNVERIFIED:
        body = read_object(request.body)
        if body is None:  # a stranger must not make us mend it: the signature decides whether it is
            return Recognition() if object_name.encode() in request.body else None
    else:
        body = load_object(request.body)
    if body is None or body.get("object") != object_name:
        return None
    refs = (account_of(entry) for entry in items(body, "entry") if isinstance(entry, dict))
    return Recognition(next((ref for ref in refs if ref), None))


def entries(request: WebhookRequest, object_name: str) -> Iterator[dict[str, Any] | UnknownEvent]:
    """Walk the entries of a delivery; what is no entry of this object comes out as an `UnknownEvent`."""
    body = read_json(request.body)
    if not isinstance(body, dict):
        yield unknown("not a JSON object", body if body is not None else request.body.decode("latin-1"))
        return
    if body.get("object") != object_name:
        yield unknown("another object", body)
        return
    if not isinstance(body.get("entry"), list):
        yield unknown("no entries", body)
        return
    for entry in body["entry"]:
        yield entry if isinstance(entry, dict) else unknown("an entry that is no object", entry)


def unknown(reason: str, piece: Any, *, account_ref: str | None = None) -> UnknownEvent:
    """Keep a piece that nobody here knows; its id is a digest of it."""
    raw = piece if isinstance(piece, dict) else {"value": piece}
    return UnknownEvent(event_id=piece_id("unknown", raw, account_ref), account_ref=account_ref, raw=raw, reason=reason)
