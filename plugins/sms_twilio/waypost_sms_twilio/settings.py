"""What an operator tells us about a Twilio account."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from waypost.plugin import SecretStr, Settings, several

SID = "[0-9a-fA-F]{32}"


class TwilioSettings(Settings):
    """One Twilio account (or subaccount), for SMS or for WhatsApp through Twilio.

    Twilio signs webhooks with the account's primary auth token, never with an API key's secret, so that the token is
    needed even where an API key makes the calls (Twilio docs, "Webhooks security").
    """

    account_sid: str = Field(
        title="Account SID", pattern=f"^AC{SID}$", description="Begins with AC; on the first page of Twilio's console."
    )
    auth_token: SecretStr = Field(
        title="Auth token", min_length=1, description="The primary token. It signs webhooks, and calls without API key."
    )
    other_auth_tokens: Annotated[tuple[SecretStr, ...], BeforeValidator(several)] = Field(
        default=(),
        title="Other auth tokens",
        max_length=3,
        description="The secondary token while tokens roll: webhooks signed with any of them are accepted.",
    )
    api_key_sid: str | None = Field(
        default=None,
        title="API key SID",
        pattern=f"^SK{SID}$",
        description="Calls are made with this key instead of the auth token; give its secret too.",
    )
    api_key_secret: SecretStr | None = Field(default=None, title="API key secret")
    messaging_service_sid: str | None = Field(
        default=None,
        title="Messaging Service SID",
        pattern=f"^MG{SID}$",
        description="Sends every message that names no sender of its own.",
    )
    callback_overrides: str = Field(
        default="rc=3&rp=5xx,ct,rt",
        title="Callback overrides",
        pattern=r"^[A-Za-z0-9=&,_.-]*$",
        description="Twilio's connection overrides for status callbacks; by default Twilio retries once at most.",
    )
    schedule_hours: int = Field(
        default=48,
        ge=0,
        le=35 * 24,
        title="Longest schedule",
        description="How many hours ahead the option sendAt may be; Twilio takes 35 days. Receipts are waited for from "
        "the hand-over on, so that the gateway's receipt window must be longer than this by a day at least.",
    )
    base_url: str = Field(default="https://api.twilio.com", title="API address", pattern=r"^https?://\S+$")
    content_base_url: str = Field(
        default="https://content.twilio.com", title="Content API address", pattern=r"^https?://\S+$"
    )

    @model_validator(mode="after")
    def _api_key_is_whole(self) -> Self:
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("an API key needs both its SID and its secret")
        return self

    @property
    def credentials(self) -> tuple[str, str]:
        """The user and password of HTTP Basic: the API key where there is one, else the account itself."""
        if self.api_key_sid and self.api_key_secret:
            return self.api_key_sid, self.api_key_secret.get_secret_value()
        return self.account_sid, self.auth_token.get_secret_value()

    @property
    def webhook_tokens(self) -> tuple[SecretStr, ...]:
        """Every token that may sign a webhook, the primary one first."""
        return (self.auth_token, *self.other_auth_tokens)
