"""A deployment's configuration: environment variables `WAYPOST_…`, or `waypost.toml` in the working directory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

#: What a base of URLs cannot hold; providers sign it to the letter.
_NOT_IN_A_BASE = re.compile(r"[^\x21-\x7e]|[?#@\\]")


class Config(BaseSettings):
    """What an operator sets for one deployment. Lists are comma-separated in the environment."""

    #: Input stays out of error texts, which a traceback shows: it may be a master key.
    model_config = SettingsConfigDict(
        env_prefix="WAYPOST_", toml_file="waypost.toml", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    #: `sqlite:///path` (one process) or `postgresql://…` (as many nodes as needed).
    database_url: str = "sqlite:///waypost-data/waypost.db"
    #: The plugins that are imported at all. What is installed but not named here is never imported.
    channels: Annotated[tuple[str, ...], NoDecode] = ()
    #: Cross-cutting plugins (group `waypost.wrappers.v1`) to enable, outermost first.
    wrappers: Annotated[tuple[str, ...], NoDecode] = ()
    #: Which distribution may provide a plugin that several claim: `{"sms_acme": "acme-waypost"}`.
    channel_distributions: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    #: How the world reaches us: the base of every webhook URL, and what providers sign.
    public_url: str | None = None
    #: The address to listen on; `0.0.0.0` is every one of this machine.
    host: str = "127.0.0.1"
    #: The port to listen on; 0 is any free one.
    port: int = Field(default=8080, ge=0, le=65_535)
    #: Keys of the vault, newest first (base64 of 32 bytes each, as `waypost vault new-key` prints them).
    master_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: Where a vault key is kept when none is given; created at first use, readable by its owner only.
    master_key_file: Path = Path("waypost-data/master.key")
    #: How long a send waits for the provider's verdict, in seconds; `Prefer: wait=N` overrides it up to `max_wait`.
    wait: float = Field(default=2.0, ge=0, le=60)
    #: The longest wait that `Prefer: wait=N` is granted, in seconds.
    max_wait: float = Field(default=30.0, ge=0, le=300)
    #: How long an accepted message is tried, in seconds, where the request does not say.
    validity: int = Field(default=86_400, ge=1, le=30 * 86_400)
    #: How long an idempotency key is remembered after its first use, in seconds.
    idempotency: int = Field(default=30 * 86_400, ge=86_400, le=3650 * 86_400)
    #: How long a node may be silent before its work is taken over, in seconds.
    lease: float = Field(default=60.0, ge=1, le=3600)
    #: How often a lane and the sweeper look at the database when nobody nudges them, in seconds.
    poll: float = Field(default=1.0, ge=0.01, le=60)
    #: Requests per second that each app may send to each node; 0 is no limit.
    requests_per_second: int = Field(default=0, ge=0)
    #: The partner APIs refuse larger bodies, in bytes.
    max_body: int = Field(default=256 * 1024, ge=1024)
    #: Provider webhooks may be larger: Meta sends up to 3 MiB, SendGrid's inbound parse up to 30 MB.
    max_webhook_body: int = Field(default=32 * 1024 * 1024, ge=1024)
    #: `debug`, `info`, `warning` or `error`.
    log_level: str = "info"

    @field_validator("channels", "wrappers", "master_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("channel_distributions", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value or "{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError('write a JSON object such as {"sms_acme": "acme-waypost"}')  # noqa: TRY004 - pydantic's own
        return found

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        from waypost.store import address

        address.check(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        """What webhook URLs begin with, without a slash at its end."""
        if not value:
            return None
        try:
            parsed = urlsplit(value)
            is_good = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
        except ValueError:
            is_good = False
        if not is_good or _NOT_IN_A_BASE.search(value):
            raise ValueError("write an address such as https://messages.example.com, without ?, # or a password")
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
