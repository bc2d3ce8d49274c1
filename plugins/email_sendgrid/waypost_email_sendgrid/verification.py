"""Is a delivery SendGrid's? Signatures on event batches; a signature or a shared secret on inbound mail."""

from __future__ import annotations

import base64
import binascii

from waypost.plugin import Rejected, Verified, WebhookContext, WebhookRequest, WebhookVerdict
from waypost.plugin.signatures import ecdsa_matches, same

from waypost_email_sendgrid.settings import SendGridAccount

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
#: Where the operator writes the secret into the parse URL.
KEY_PARAMETER = "key"


def is_inbound_mail(request: WebhookRequest) -> bool:
    """Whether a delivery is Inbound Parse's: the only one of SendGrid's that is a form."""
    return (request.header("content-type") or "").lower().lstrip().startswith("multipart/form-data")


def verify(ctx: WebhookContext, request: WebhookRequest) -> WebhookVerdict:
    """Check a delivery. What is not configured is refused, never allowed."""
    account = ctx.account
    if not isinstance(account, SendGridAccount):
        return Rejected("no account to verify with", unconfigured=True)
    if request.method.upper() != "POST":
        return Rejected("SendGrid only posts")
    if is_inbound_mail(request):
        return _verify_mail(ctx, account, request)
    if not account.event_public_keys:
        return Rejected("no event webhook verification key is configured", unconfigured=True)
    return _verify_signature(ctx, account, request, account.event_public_keys)


def _verify_mail(ctx: WebhookContext, account: SendGridAccount, request: WebhookRequest) -> WebhookVerdict:
    """Inbound mail proves itself by either: signing came late, and a parse setting moves from one to the other."""
    secret = account.inbound_secret.get_secret_value() if account.inbound_secret else ""
    if not secret and not account.parse_public_keys:
        return Rejected("neither a parse verification key nor an inbound secret is configured", unconfigured=True)
    if secret and (_key_matches(request, secret) or _password_matches(request, secret)):
        return Verified()
    if account.parse_public_keys:
        return _verify_signature(ctx, account, request, account.parse_public_keys)
    return Rejected("wrong inbound secret")


def _verify_signature(
    ctx: WebhookContext, account: SendGridAccount, request: WebhookRequest, keys: tuple[str, ...]
) -> WebhookVerdict:
    """ECDSA over the timestamp's characters and the raw body, its last CRLF included (Event Webhook security)."""
    timestamp, signature = request.only_header(TIMESTAMP), request.only_header(SIGNATURE)
    if not timestamp or not signature:
        return Rejected("the delivery is not signed")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return Rejected("the signature's time is not a number")
    if not ecdsa_matches(keys, timestamp.encode() + request.body, signature):
        return Rejected("wrong signature")
    if account.signature_max_age and ctx.now.timestamp() - int(timestamp) > account.signature_max_age:
        return Rejected("the signature is too old")
    return Verified()


def _key_matches(request: WebhookRequest, secret: str) -> bool:
    given = request.parameter(KEY_PARAMETER)
    return bool(given) and same(given or "", secret)


def _password_matches(request: WebhookRequest, secret: str) -> bool:
    scheme, _, encoded = (request.header("authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        decoded = base64.b64decode(encoded.strip().encode("utf-8", "surrogatepass"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return same(decoded.partition(b":")[2], secret)
