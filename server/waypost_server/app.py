"""The aiohttp application over one node: wiring only."""

from __future__ import annotations

from aiohttp import web
from waypost.node import Node

from waypost_server.rest.bodies import REQUEST_ID, request_id
from waypost_server.rest.health import Health
from waypost_server.rest.openapi import OpenApi
from waypost_server.rest.partner import PartnerApi
from waypost_server.rest.replies import reply
from waypost_server.rest.token import TokenApi
from waypost_server.rest.webhooks import Webhooks


def build_app(node: Node) -> web.Application:
    """The application; whoever runs it opens, starts and stops the node."""
    app = web.Application(client_max_size=node.config.max_webhook_body + 1)
    app.add_routes(Health(node).routes())
    if node.role in ("all", "api"):
        app.add_routes(PartnerApi(node).routes())
        app.add_routes(TokenApi(node).routes())
        app.add_routes(Webhooks(node).routes())
        app.add_routes(OpenApi(node).routes())
    app.router.add_route("*", "/{path:.*}", _nothing_here)
    return app


async def _nothing_here(request: web.Request) -> web.Response:
    """Answer for a path or a method that nobody serves, in the envelope of the API it belongs to."""
    allowed = await _allowed(request)
    status, code = (405, "METHOD_NOT_ALLOWED") if allowed else (404, "NOT_FOUND")
    sentence = "This path does not take this method." if allowed else "There is nothing at this path."
    headers = {REQUEST_ID: request_id(request)}
    if allowed:
        headers["Allow"] = ", ".join(allowed)
    if request.path.startswith("/api/"):
        return reply({"error": code.lower(), "message": sentence}, status, headers)
    return reply({"success": False, "error": sentence, "code": code}, status, headers)


async def _allowed(request: web.Request) -> list[str]:
    """The methods that this path does take."""
    methods: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical != "/{path}":
            _, allowed = await resource.resolve(request)
            methods.update(allowed)
    return sorted(methods - {"*"})
