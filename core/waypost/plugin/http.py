"""The door to a provider: one request, no retries, transport faults mapped to the error tree.

================================================  =====================================================
what happened                                     what it becomes
================================================  =====================================================
no connection (DNS, refused, TLS, pool full)      `Transient`: nothing left us
anything after the request left us                `OutcomeUnknown`
5xx (503 included)                                `OutcomeUnknown`, unless the plugin's table knows better
2xx or 3xx that cannot be understood              `OutcomeUnknown`
429                                               `RateLimited`, with `Retry-After` where given
401                                               `AccountBlocked`
403 and every other 4xx                           `Permanent`, unless the plugin's table knows better
================================================  =====================================================
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson

from waypost.plugin.errors import AccountBlocked, OutcomeUnknown, Permanent, RateLimited, Transient

#: No total timeout: only then does the exception tell in which phase it struck. The core bounds the whole call.
TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=10, sock_read=30)
#: More than any provider's answer to a send; what is longer is cut off and unreadable.
MAX_REPLY = 1 << 20
#: A longer body is written in pieces, because aiohttp warns that it would hold the event loop as one.
LARGE_BODY = 1 << 19


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A provider's whole answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, or None where it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty one where it is anything else."""
        value = self.json()
        return value if isinstance(value, dict) else {}


async def post(session: aiohttp.ClientSession, url: str, **kwargs: Any) -> HttpReply:
    """POST once. Takes what `request` takes."""
    return await request(session, "POST", url, **kwargs)


async def get(session: aiohttp.ClientSession, url: str, **kwargs: Any) -> HttpReply:
    """GET once. Takes what `request` takes."""
    return await request(session, "GET", url, **kwargs)


async def request(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: Any = None,
    params: Mapping[str, str] | None = None,
    timeout: aiohttp.ClientTimeout = TIMEOUT,
) -> HttpReply:
    """Make one request and read the whole answer.

    `json` is sent as compact JSON; `data` is bytes, a form mapping or a sequence of pairs. Redirects are not followed.
    Raises `Transient` when nothing can have left us and `OutcomeUnknown` for any fault after that. An answer with an
    error status is returned, not raised: see `raise_for_status`.
    """
    sent_headers = dict(headers or {})
    if json is not None:
        data = orjson.dumps(json)
        sent_headers.setdefault("Content-Type", "application/json")
    if isinstance(data, bytes) and len(data) > LARGE_BODY:
        data = io.BytesIO(data)
    try:
        async with session.request(
            method,
            url,
            headers=sent_headers,
            data=data,
            params=params,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            body = await response.content.read(MAX_REPLY)
            while not response.content.at_eof():
                if len(body) >= MAX_REPLY:
                    raise OutcomeUnknown("The provider's answer was too long to be one.", http_status=response.status)
                body += await response.content.read(MAX_REPLY - len(body))
            return HttpReply(response.status, {key.lower(): value for key, value in response.headers.items()}, body)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        raise Transient(f"No connection to the provider ({type(error).__name__}).") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise OutcomeUnknown(f"The provider did not answer ({type(error).__name__}).") from error


def raise_for_status(reply: HttpReply, *, provider_code: str | None = None) -> None:
    """Raise what an error status means where the plugin's own table has nothing better to say.

    Returns for 2xx. Raises `RateLimited`, `AccountBlocked`, `Permanent` or `OutcomeUnknown` otherwise.
    """
    status = reply.status
    if reply.ok:
        return
    if status == 429:
        raise RateLimited(retry_after=retry_after(reply), provider_code=provider_code, http_status=status)
    if status == 401:
        raise AccountBlocked(provider_code=provider_code, http_status=status)
    if 400 <= status < 500:
        raise Permanent(provider_code=provider_code, http_status=status)
    raise OutcomeUnknown(f"The provider answered {status}.", provider_code=provider_code, http_status=status)


def retry_after(reply: HttpReply, *, now: datetime | None = None) -> float | None:
    """The answer's `Retry-After` in seconds, from seconds or from an HTTP date (RFC 9110 §10.2.3)."""
    value = reply.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
