"""Settings of an Instagram professional account, by either of Meta's two ways in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from waypost_meta_graph.messaging_settings import AccountId, MessagingAccount

#: Which Graph answers whom. Source: Instagram Platform, "Overview", host URLs.
HOSTS = {"page": "https://graph.facebook.com", "instagram": "https://graph.instagram.com"}


class InstagramAccount(MessagingAccount):
    """An Instagram professional account.

    With `login` "page" it is reached through its linked Facebook Page and that Page's token; with "instagram" by
    itself and an Instagram user token. `base_url` follows `login` unless it names a host that is not Meta's.
    """

    ig_id: AccountId = Field(title="Instagram account id", description="The professional account's id (1784…).")
    login: Literal["page", "instagram"] = Field(default="page", title="Way in")
    page_id: AccountId | None = Field(
        default=None, title="Page id", description="The linked Page, for the way in through it; else the token's own."
    )

    @model_validator(mode="before")
    @classmethod
    def _host_of_login(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = data.get("base_url")
        if given and not (isinstance(given, str) and given.strip().rstrip("/") in HOSTS.values()):
            return data
        return {**data, "base_url": HOSTS.get(str(data.get("login", "page")), HOSTS["page"])}

    @property
    def node(self) -> str:
        """The path under which this account sends."""
        return self.ig_id if self.login == "instagram" else self.page_id or "me"
