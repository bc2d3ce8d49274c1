"""Settings of a Telegram bot."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from waypost.plugin import SecretStr, Settings

#: `123456789:AA…`, as @BotFather hands it out. Source: Telegram Bot API, "Authorizing your bot".
_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{10,100}")
#: Source: Telegram Bot API, `setWebhook`, `secret_token`.
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")


def _token(value: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError("a bot token is the bot's number, a colon, and letters, digits, _ or -")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if not _SECRET.fullmatch(value.get_secret_value()):
        raise ValueError("a webhook secret is 1 to 256 letters, digits, _ or -")
    return value


class TelegramBot(Settings):
    """A bot. Whoever has its token is the bot."""

    bot_token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        title="Bot token", description="As @BotFather gave it: 123456789:AA…"
    )
    webhook_secrets: tuple[Annotated[SecretStr, AfterValidator(_secret)], ...] = Field(
        default=(),
        title="Webhook secrets",
        description="What Telegram repeats in every webhook; invent one. Two, newest first, while you rotate.",
    )
    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\-\[\]]+(/[A-Za-z0-9._/\-]*)?$")] = (
        Field(default="https://api.telegram.org", title="Bot API server", description="Your own, if you run one.")
    )

    @property
    def bot_id(self) -> str:
        """The bot's own number, which is no secret."""
        return self.bot_token.get_secret_value().partition(":")[0]

    def method_url(self, method: str) -> str:
        """The URL of a method. It holds the token: it goes into no error, log or metric."""
        return f"{self.base_url.rstrip('/')}/bot{self.bot_token.get_secret_value()}/{method}"
