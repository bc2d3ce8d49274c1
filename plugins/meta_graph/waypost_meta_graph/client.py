"""The Graph: one request, a Bearer token, and errors told apart by the channel's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from waypost.plugin import AccountHealth, OutcomeUnknown, SecretStr, Transient
from waypost.plugin.errors import AccountBlocked, ChannelError
from waypost.plugin.http import HttpReply, raise_for_status, request, retry_after

from waypost_meta_graph.errors import ErrorTable, graph_error
from waypost_meta_graph.pieces import whole
from waypost_meta_graph.settings import GraphAccountSettings


@dataclass(frozen=True, slots=True)
class Graph:
    """The Graph for one account. `root` is the base URL with the API version."""

    session: aiohttp.ClientSession
    root: str
    token: SecretStr
    errors: ErrorTable

    @classmethod
    def of(cls, session: aiohttp.ClientSession, account: GraphAccountSettings, errors: ErrorTable) -> Graph:
        """The Graph as an account's settings describe it."""
        return cls(session, f"{account.base_url}/{account.api_version}", account.access_token, errors)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON object once and return the answer's object. Raises `ChannelError`."""
        return self._understood(await self._request("POST", path, json=body))

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET once and return the answer's object. Raises `ChannelError`."""
        return self._understood(await self._request("GET", path, params=params))

    async def _request(self, method: str, path: str, **kwargs: Any) -> HttpReply:
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}", "Accept": "application/json"}
        return await request(self.session, method, f"{self.root}/{path}", headers=headers, **kwargs)

    def _understood(self, reply: HttpReply) -> dict[str, Any]:
        body = reply.json()
        raise_graph_error(reply, body, self.errors)
        raise_for_status(reply)
        if not reply.ok or not isinstance(body, dict):
            raise OutcomeUnknown("The provider's answer could not be understood.", http_status=reply.status)
        return body


def raise_graph_error(reply: HttpReply, body: Any, errors: ErrorTable) -> None:
    """Raise what the `error` inside an answer means, whatever its HTTP status; return where there is none.

    A code that the table does not know follows the HTTP status, and `is_transient` where the status is a 4xx; inside
    a 2xx it is `OutcomeUnknown`.
    """
    problem = graph_error(body)
    if problem is None:
        return
    code = problem.provider_code
    row = errors.find(problem.code, problem.subcode)
    if row is not None:
        raise row.exception(provider_code=code, http_status=reply.status, retry_after=_wait(reply))
    if problem.is_transient and 400 <= reply.status < 500 and reply.status != 429:
        raise Transient(provider_code=code, http_status=reply.status)
    raise_for_status(reply, provider_code=code)
    raise OutcomeUnknown("The provider answered success and an error.", provider_code=code, http_status=reply.status)


def _wait(reply: HttpReply) -> float | None:
    """Seconds to wait: `Retry-After`, or `estimated_time_to_regain_access` (minutes) of the usage header.

    Source: Meta Graph API, "Rate Limits", header `X-Business-Use-Case-Usage`.
    """
    seconds = retry_after(reply)
    if seconds is not None:
        return seconds
    try:
        usage = orjson.loads(reply.headers.get("x-business-use-case-usage", ""))
    except orjson.JSONDecodeError:
        return None
    waits = [
        minutes
        for uses in (usage.values() if isinstance(usage, dict) else ())
        for use in (uses if isinstance(uses, list) else ())
        if (minutes := whole(use, "estimated_time_to_regain_access")) is not None and minutes > 0
    ]
    return 60.0 * max(waits) if waits else None


def _ok(_: dict[str, Any]) -> AccountHealth:
    return AccountHealth(state="ok")


async def health(
    graph: Graph, path: str, fields: str, judge: Callable[[dict[str, Any]], AccountHealth] = _ok
) -> AccountHealth:
    """Read a node of the account to learn whether it may send; `judge` decides on what it says.

    A refused account is `blocked`; any other fault says nothing of the account and is `unknown`.
    """
    try:
        node = await graph.get(path, {"fields": fields})
    except AccountBlocked as error:
        return AccountHealth(state="blocked", detail=error.detail)
    except ChannelError as error:
        return AccountHealth(state="unknown", detail=error.detail)
    return judge(node)
