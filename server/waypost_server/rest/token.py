"""The token API: `POST /api/send-{channel}.php` with a bearer token, for every channel that is enabled."""

from __future__ import annotations

import hashlib
from functools import partial

from aiohttp import web
from aiohttp.hdrs import AUTHORIZATION
from waypost.admission.request import SendRequest
from waypost.log import logger
from waypost.node import Node
from waypost.refusals import Refusal, Unavailable, ValidationFailed
from waypost.store.database import StoreUnavailableError

from waypost_server.rest import replies
from waypost_server.rest.answer import Answer
from waypost_server.rest.bodies import REQUEST_ID, idempotency_key, json_object, read_send, request_id
from waypost_server.rest.router import Route
from waypost_server.rest.token_request import read_token_request

#: One endpoint takes three channels, says the document: `channel` in the body chooses, WhatsApp by default.
_SHARED_ENDPOINT = {"WHATSAPP": frozenset({"WHATSAPP", "MESSENGER", "INSTAGRAM"})}

#: What a replayed request may find; any other status says no more than that the message was accepted.
_SENT = frozenset({"SENT", "DELIVERED", "READ", "UNDELIVERED"})

_LOG = logger()


class TokenApi:
    """Handlers over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """The API's routes."""
        served = sorted({plugin.info.channel for plugin in self._node.plugins.values()})
        # The served channels have fixed paths, which are found faster; the pattern answers for all others.
        return [
            *(Route("POST", f"/api/send-{channel.lower()}.php", partial(self.send, channel)) for channel in served),
            Route("POST", r"/api/send-{channel:[A-Za-z0-9_-]{1,32}}.php", self.send_anywhere),
        ]

    async def send_anywhere(self, request: web.Request, channel: str) -> Answer:
        """Answer for a channel however its name is written."""
        return await self.send(channel.upper().replace("-", "_"), request)

    async def send(self, endpoint: str, request: web.Request) -> Answer:
        """Accept a message and answer at once with its id and status."""
        shown = request_id(request)
        try:
            body = await read_send(request, self._node)

            def read() -> SendRequest:
                key = idempotency_key(request)
                fingerprint = hashlib.sha256(endpoint.encode() + body).hexdigest() if key is not None else ""
                fields = json_object(body)
                return read_token_request(
                    fields,
                    _channel(endpoint, fields),
                    idempotency_key=key,
                    fingerprint=fingerprint,
                    request_id=shown,
                )

            admitted = await self._node.desk.accept(_bearer(request), read)
        except Refusal as refusal:
            _LOG.info("token.refused", request_id=shown, code=refusal.code)
            return replies.token_error(refusal, shown)
        except StoreUnavailableError:
            return replies.token_error(Unavailable(retry_after=1), shown)
        except Exception as error:  # noqa: BLE001 - the last resort: told to the log, not to the caller
            _LOG.exception("token.failed", request_id=shown, problem=type(error).__name__)
            return replies.token_error(replies.Failure(), shown)
        headers = {REQUEST_ID: shown}
        if admitted.replayed:
            headers["Idempotency-Replayed"] = "true"
        status = "sent" if admitted.message.status in _SENT else "queued"
        return replies.reply({"id": admitted.message.id, "status": status}, headers=headers)


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _channel(endpoint: str, fields: dict[str, object]) -> str:
    """The channel meant: the endpoint's own, or one of those that share it."""
    given = fields.get("channel")
    if given is None:
        return endpoint
    shared = _SHARED_ENDPOINT.get(endpoint, frozenset({endpoint}))
    if not isinstance(given, str) or given.upper() not in shared:
        raise ValidationFailed(f"channel: this endpoint sends {', '.join(sorted(shared))}")
    return given.upper()
