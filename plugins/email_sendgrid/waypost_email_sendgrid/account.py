"""Questions about the account itself: may it send, and which templates does it have?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from waypost.plugin import AccountHealth, ChannelError, Misconfigured, TemplateInfo
from waypost.plugin.http import HttpReply, get, raise_for_status

from waypost_email_sendgrid.settings import SendGridAccount

#: Of at most 200 templates each (Templates, "page_size"); an account has at most 300.
MAX_PAGES = 10


async def health(session: aiohttp.ClientSession, account: SendGridAccount) -> AccountHealth:
    """Ask for the key's scopes and, where it may see them, the credits (`GET /v3/scopes`, `GET /v3/user/credits`)."""
    try:
        reply = await get(session, account.url("/v3/scopes"), headers=account.headers())
        if reply.status in (401, 403):
            return AccountHealth(state="blocked", detail="SendGrid does not accept the API key, or not from here.")
        scopes = reply.json_object().get("scopes")
        if not reply.ok or not isinstance(scopes, list):
            return AccountHealth(state="unknown", detail=f"SendGrid answered {reply.status}.")
        if "mail.send" not in scopes:
            return AccountHealth(state="blocked", detail="The API key lacks the permission Mail Send.")
        if "user.credits.read" in scopes:
            balance = await get(session, account.url("/v3/user/credits"), headers=account.headers())
            if _used_up(balance):
                return AccountHealth(state="blocked", detail="The SendGrid plan's credits are used up.")
    except ChannelError as error:
        return AccountHealth(state="unknown", detail=error.detail)
    return AccountHealth(state="ok")


def _used_up(reply: HttpReply) -> bool:
    """Whether nothing remains and nothing was sent beyond: a plan that bills overage has some by then."""
    balance = reply.json_object()
    return reply.ok and balance.get("remain") == 0 and balance.get("overage", 0) == 0


async def dynamic_templates(session: aiohttp.ClientSession, account: SendGridAccount) -> list[TemplateInfo]:
    """Every dynamic template (`GET /v3/templates`). Raises `ChannelError` where SendGrid does not answer."""
    templates: list[TemplateInfo] = []
    params = {"generations": "dynamic", "page_size": "200"}
    for _ in range(MAX_PAGES):
        reply = await get(session, account.url("/v3/templates"), headers=account.headers(), params=params)
        if reply.status == 403:
            raise Misconfigured("The API key lacks the permission to read templates.", http_status=403)
        raise_for_status(reply)
        page = reply.json_object()
        templates.extend(_templates(page))
        token = _next_page(page)
        if not token:
            break
        params["page_token"] = token
    return templates


def _templates(page: dict[str, Any]) -> Iterator[TemplateInfo]:
    listed = page.get("result", page.get("templates"))
    for template in listed if isinstance(listed, list) else []:
        if not isinstance(template, dict) or not isinstance(template.get("id"), str):
            continue
        versions = template.get("versions")
        known = [version for version in versions if isinstance(version, dict)] if isinstance(versions, list) else []
        active = any(version.get("active") == 1 for version in known)
        name = template.get("name")
        yield TemplateInfo(
            template_id=template["id"],
            name=name if isinstance(name, str) else template["id"],
            status="active" if active else "draft",
        )


def _next_page(page: dict[str, Any]) -> str | None:
    """The token of the next page. Only the token: the address it comes in is never called."""
    metadata = page.get("_metadata")
    following = metadata.get("next") if isinstance(metadata, dict) else None
    if not isinstance(following, str):
        return None
    try:
        return parse_qs(urlsplit(following).query).get("page_token", [None])[0]
    except ValueError:
        return None
