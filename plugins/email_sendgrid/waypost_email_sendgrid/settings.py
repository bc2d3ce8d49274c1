"""What an operator configures for one SendGrid account."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from pydantic import AfterValidator, BeforeValidator, Field
from waypost.plugin import ContentRejected, InvalidRecipient, SecretStr, Settings, several

from waypost_email_sendgrid.address import clean_line, parse_address


class UnreadableKeyError(ValueError):
    """This is not an elliptic-curve public key; paste the verification key from SendGrid's webhook settings."""


def _public_key(value: str) -> str:
    """Accept what SendGrid shows (base64 of DER) and PEM; refuse the rest at once, not at the first webhook."""
    text = value.strip()
    try:
        key = (
            load_pem_public_key(text.encode())
            if text.startswith("-----")
            else load_der_public_key(base64.b64decode(text, validate=True))
        )
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise UnreadableKeyError(str(UnreadableKeyError.__doc__)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UnreadableKeyError(str(UnreadableKeyError.__doc__))
    return text


def _address(value: str | None) -> str | None:
    if not value:
        return None
    try:
        return parse_address(value).value
    except InvalidRecipient as error:
        raise ValueError("this is not an email address") from error


def _line(value: str | None) -> str | None:
    if not value:
        return None
    try:
        return clean_line(value, "value")
    except ContentRejected as error:
        raise ValueError("control characters are not allowed here") from error


def _several(value: Any) -> Any:
    """Keys that come as one text; a key in PEM, which has spaces, is one."""
    return (value,) if isinstance(value, str) and "-----" in value else several(value)


PublicKey = Annotated[str, AfterValidator(_public_key)]
PublicKeys = Annotated[tuple[PublicKey, ...], BeforeValidator(_several)]


class SendGridAccount(Settings):
    """One SendGrid account (or subuser): its key, its sender and the keys its webhooks are signed with."""

    api_key: SecretStr = Field(
        title="API key",
        description="Settings → API Keys. Needs Mail Send; Template Engine (read) to list templates; "
        "Billing (read) so that Waypost notices used-up credits.",
    )
    event_public_keys: PublicKeys = Field(
        default=(),
        title="Event webhook verification keys",
        description="Mail Settings → Event Webhooks → Signature verification. One for each webhook. "
        "Without a key no event is accepted.",
    )
    parse_public_keys: PublicKeys = Field(
        default=(),
        title="Inbound Parse verification keys",
        description="Only where a webhook security policy with signature is attached to the parse setting.",
    )
    inbound_secret: SecretStr | None = Field(
        default=None,
        title="Inbound Parse secret",
        description="Where parse deliveries are not signed: the secret in the parse URL, as ?key=… or as the "
        "password in https://waypost:…@host/…",
    )
    from_address: Annotated[str | None, AfterValidator(_address)] = Field(
        default=None,
        title="Default sender address",
        description="Used when a message names no sender. Must be a verified sender or on a verified domain.",
    )
    from_name: Annotated[str | None, AfterValidator(_line)] = Field(
        default=None, max_length=255, title="Default sender name", description="Shown beside the default address."
    )
    default_subject: Annotated[str | None, AfterValidator(_line)] = Field(
        default=None,
        max_length=255,
        title="Default subject",
        description="For mails that name none, as plain texts do. Without it they are refused.",
    )
    sandbox: bool = Field(
        default=False,
        title="Sandbox mode",
        description="SendGrid checks every mail and sends none; there are no events.",
    )
    schedule_hours: int = Field(
        default=48,
        ge=0,
        le=72,
        title="Longest schedule",
        description="How many hours ahead a mail's send_at may be; SendGrid takes 72. Receipts are waited for from the "
        "hand-over on, so that the gateway's receipt window must be longer than this by a day at least.",
    )
    on_behalf_of: Annotated[str | None, AfterValidator(_line)] = Field(
        default=None, max_length=255, title="On behalf of", description="A subuser's name, or `account-id …`."
    )
    signature_max_age: int = Field(
        default=172_800,
        ge=0,
        title="Oldest signature accepted",
        description="In seconds. SendGrid retries a delivery for 24 hours, so keep it above that; 0 accepts any age.",
    )
    base_url: str = Field(
        default="https://api.sendgrid.com",
        pattern=r"^https?://[^\s?#]+$",
        title="API address",
        description="https://api.eu.sendgrid.com for a European subuser.",
    )

    def url(self, path: str) -> str:
        """The address of an API path."""
        return self.base_url.rstrip("/") + path

    def headers(self) -> dict[str, str]:
        """What authenticates a request: the key, and the subuser it is made for."""
        headers = {"Authorization": f"Bearer {self.api_key.get_secret_value()}"}
        if self.on_behalf_of:
            headers["on-behalf-of"] = self.on_behalf_of
        return headers
