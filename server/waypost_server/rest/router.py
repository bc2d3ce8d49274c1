"""Finds the handler of a request: aiohttp's own dispatcher, and before it a table of the paths that never vary.

It stands on aiohttp's low-level server. Nothing here needs what `web.Application` does for each request, and that
costs as much as all our own work between the socket and the desk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from waypost_server.rest.answer import Answer

#: Takes the request, and by name what the path's pattern matched.
Handler = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path as aiohttp writes patterns (`/partner/message/{message_id}`), and who answers."""

    method: str
    path: str
    handler: Handler


def reading(path: str, handler: Handler) -> list[Route]:
    """The routes of something to be read, which answer HEAD as well."""
    return [Route("GET", path, handler), Route("HEAD", path, handler)]


class Router:
    """Hands requests to the routes' handlers; `otherwise` answers where there is none, with the methods there are."""

    def __init__(self, routes: Iterable[Route], otherwise: Callable[[web.Request, list[str]], Answer]) -> None:
        self._dispatcher = web.UrlDispatcher()
        self._fixed: dict[tuple[str, str], Handler] = {}
        self._methods: dict[str, set[str]] = {}
        self._otherwise = otherwise
        for route in routes:
            self._dispatcher.add_route(route.method, route.path, route.handler)
            if "{" not in route.path:
                self._fixed[route.method, route.path] = route.handler
                self._methods.setdefault(route.path, set()).add(route.method)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        handler = self._fixed.get((request.method, request.raw_path))
        if handler is not None:
            return await handler(request)
        asked = cast("web.Request", request)
        allowed_here = self._methods.get(asked.path)
        if allowed_here is not None and asked.method not in allowed_here:
            # Not to be taken for what a pattern matches: `send` is no message's id.
            return self._otherwise(asked, sorted(allowed_here))
        found = await self._dispatcher.resolve(asked)
        if found.http_exception is not None:
            refusal = found.http_exception
            allowed = refusal.allowed_methods if isinstance(refusal, web.HTTPMethodNotAllowed) else ()
            return self._otherwise(asked, sorted(allowed))
        return await cast("Handler", found.handler)(request, **found)
