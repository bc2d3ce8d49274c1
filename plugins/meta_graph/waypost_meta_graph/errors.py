"""Graph errors: (code, subcode) → what may be done next, by a table that each channel supplies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    Misconfigured,
    RateLimited,
    Transient,
)
from waypost.plugin.errors import RateScope

from waypost_meta_graph.pieces import child, flag, whole


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """What a code means. `title` is shown to partners.

    `retry_after` is in seconds, for rate limits; `tries` is how often in all a transient one is worth it.
    """

    error: type[ChannelError]
    title: str
    scope: RateScope = "account"
    retry_after: float | None = None
    tries: int | None = None

    def exception(
        self, *, provider_code: str | None = None, http_status: int | None = None, retry_after: float | None = None
    ) -> ChannelError:
        """The error to raise; a `retry_after` that the provider named wins over the row's own."""
        if issubclass(self.error, RateLimited):
            return self.error(
                self.title,
                retry_after=retry_after if retry_after is not None else self.retry_after,
                scope=self.scope,
                provider_code=provider_code,
                http_status=http_status,
            )
        if issubclass(self.error, Transient):
            return self.error(self.title, tries=self.tries, provider_code=provider_code, http_status=http_status)
        return self.error(self.title, provider_code=provider_code, http_status=http_status)


#: (code, subcode), (code, None) for any subcode, (None, subcode) for any code.
ErrorKey = tuple[int | None, int | None]

_TOKEN = ErrorRow(AccountBlocked, "The access token is expired, revoked or invalid.")
_PERMISSION = ErrorRow(Misconfigured, "The app lacks a permission or capability that this needs.")

#: What every Graph product shares. Source: Meta Graph API, "Handle Errors".
GENERIC_ROWS: Mapping[ErrorKey, ErrorRow] = {
    (0, None): ErrorRow(AccountBlocked, "The app user could not be authenticated."),
    (1, None): ErrorRow(Transient, "The Graph met an unknown error, or the request is invalid.", tries=2),
    (2, None): ErrorRow(Transient, "The Graph is temporarily out of service."),
    (3, None): _PERMISSION,
    (4, None): ErrorRow(RateLimited, "The app has reached its call limit."),
    (10, None): _PERMISSION,
    (32, None): ErrorRow(RateLimited, "The page has reached its call limit."),
    (100, None): ErrorRow(ContentRejected, "A parameter of the request is invalid."),
    (100, 33): ErrorRow(Misconfigured, "The account does not exist, or its token may not use it."),
    (102, None): _TOKEN,
    (190, None): _TOKEN,
    (368, None): ErrorRow(AccountBlocked, "The account is blocked for violating a policy."),
    (613, None): ErrorRow(RateLimited, "The call rate limit is reached."),
}
#: Ranges of codes, looked at last.
GENERIC_RANGES: Sequence[tuple[range, ErrorRow]] = ((range(200, 300), _PERMISSION),)


class ErrorTable:
    """A channel's rows over the generic ones. The most exact key wins; at the same exactness the channel's own."""

    def __init__(self, rows: Mapping[ErrorKey, ErrorRow], ranges: Sequence[tuple[range, ErrorRow]] = ()) -> None:
        self.rows: dict[ErrorKey, ErrorRow] = {**GENERIC_ROWS, **rows}
        self.ranges = (*ranges, *GENERIC_RANGES)

    def find(self, code: int | None, subcode: int | None = None) -> ErrorRow | None:
        """The row of a code, if there is one."""
        if subcode:
            for key in ((code, subcode), (None, subcode)):
                if key in self.rows:
                    return self.rows[key]
        if code is None:
            return None
        if (code, None) in self.rows:
            return self.rows[code, None]
        return next((row for codes, row in self.ranges if code in codes), None)


@dataclass(frozen=True, slots=True)
class GraphError:
    """A Graph error as the wire gives it, without its texts: they may repeat what the partner sent."""

    code: int | None
    subcode: int | None
    is_transient: bool

    @property
    def provider_code(self) -> str | None:
        """`code` or `code/subcode`."""
        if self.code is None:
            return str(self.subcode) if self.subcode else None
        return f"{self.code}/{self.subcode}" if self.subcode else str(self.code)


def graph_error(body: Any) -> GraphError | None:
    """Read the `error` of an answer; None where there is none. An `error` of a wrong type counts as one."""
    if not isinstance(body, Mapping) or not body.get("error"):
        return None
    piece = child(body, "error")
    return GraphError(whole(piece, "code"), whole(piece, "error_subcode"), flag(piece, "is_transient") is True)
