"""Settings that the Meta channels share: the app at Meta, and how to reach the Graph."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from waypost.plugin import SecretStr, Settings, several

#: Secrets live at once during a rotation; each costs one HMAC per forged delivery.
MAX_APP_SECRETS = 4


class UnusableTokenError(ValueError):
    """An access token is printable ASCII without spaces; paste it again."""


def _header_safe(token: SecretStr) -> SecretStr:
    plain = token.get_secret_value().strip()
    if not plain or not all("!" <= character <= "~" for character in plain):
        raise UnusableTokenError(UnusableTokenError.__doc__)
    return SecretStr(plain)


def _no_trailing_slash(value: str) -> str:
    return value.rstrip("/")


AccessToken = Annotated[SecretStr, AfterValidator(_header_safe)]
ApiVersion = Annotated[str, Field(pattern=r"^v\d{1,3}\.\d{1,2}$")]
BaseUrl = Annotated[str, Field(pattern=r"^https?://[^\s/?#]+[^\s?#]*$"), AfterValidator(_no_trailing_slash)]
AppSecrets = Annotated[tuple[SecretStr, ...], BeforeValidator(several), Field(max_length=MAX_APP_SECRETS)]


class MetaAppSettings(Settings):
    """An app at Meta, which signs the webhooks of every account connected to it.

    `app_secrets` are all that are live, newest first; `verify_token` is what the operator invents for the handshake.
    Without them every delivery is rejected.
    """

    app_secrets: AppSecrets = Field(default=(), title="App secrets", description="Newest first, while one is rotated.")
    verify_token: SecretStr = Field(
        default=SecretStr(""), title="Verify token", description="The same words as in the app's webhook settings."
    )


class GraphAccountSettings(Settings):
    """How to reach the Graph for one account. A channel adds the ids of its own kind of account."""

    access_token: AccessToken = Field(title="Access token")
    api_version: ApiVersion = Field(default="v25.0", title="Graph API version")
    base_url: BaseUrl = Field(default="https://graph.facebook.com", title="Graph base URL")
