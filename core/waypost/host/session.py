"""The one HTTP session in which all plugins reach their providers."""

from __future__ import annotations

import aiohttp


def shared_session() -> aiohttp.ClientSession:
    """The session that plugins get as `ctx.http`: no cookies, no proxies, connections kept shorter than providers do.

    `close_session` closes it; its own `close` raises.
    """
    connector = aiohttp.TCPConnector(limit=1000, limit_per_host=200, keepalive_timeout=15, ttl_dns_cache=60)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
    # A plugin that closes it, or leaves an `async with` of it, would end every other plugin's sends.
    session.close = _refuse_to_close  # type: ignore[method-assign]
    return session


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close it: only who opened it may."""
    await aiohttp.ClientSession.close(session)


async def _refuse_to_close() -> None:
    raise RuntimeError("ctx.http is shared by all plugins; leave it open")
