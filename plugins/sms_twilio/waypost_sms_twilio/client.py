"""Twilio's SDK over our own session.

The SDK's own transport keeps a session of its own, ignores its timeout and retries POST; this one makes one request
by `waypost.plugin.http` and raises our errors, so that the SDK never sees an answer that is not 2xx. Importing the
SDK takes some 0.4 s: import this module in a thread, and only when a message is to be sent.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp

# The domains are imported here since the SDK would do it, slowly, on the first call.
import twilio.rest.api  # type: ignore[import-untyped]
import twilio.rest.content  # type: ignore[import-untyped]  # noqa: F401
from twilio.base.exceptions import TwilioException  # type: ignore[import-untyped]
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client
from waypost.plugin import OutcomeUnknown, http

from waypost_sms_twilio.errors import raise_for_reply
from waypost_sms_twilio.settings import TwilioSettings

#: What the SDK raises when an answer's fields have shapes it does not expect.
_UNREADABLE = (TwilioException, ValueError, TypeError, AttributeError, LookupError)


class SessionHttpClient(AsyncHttpClient):  # type: ignore[misc]
    """The SDK's transport: one request through Waypost's session, errors already ours."""

    def __init__(self, session: aiohttp.ClientSession, credentials: tuple[str, str]) -> None:
        super().__init__(logger=None, is_async=True)
        self.session = session
        self._authorization = "Basic " + base64.b64encode(":".join(credentials).encode()).decode()

    async def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,  # noqa: ARG002 - the credentials are already in the header
        timeout: float | None = None,  # noqa: ARG002 - the session's own limits tell in which phase they struck
        allow_redirects: bool = False,  # noqa: ARG002 - never: credentials do not travel
    ) -> Response:
        """Make the SDK's request once. Raises `ChannelError` for a fault and for every answer that is not 2xx."""
        reply = await http.request(
            self.session,
            method,
            uri,
            headers={**(headers or {}), "Authorization": self._authorization},
            data=urlencode(data, doseq=True).encode() if data else None,
            params={name: str(value) for name, value in params.items()} if params else None,
        )
        raise_for_reply(reply)
        return Response(reply.status, reply.body.decode("utf-8", "replace"), dict(reply.headers))


class TwilioClient:
    """The calls we make of one account."""

    def __init__(self, account: TwilioSettings, session: aiohttp.ClientSession) -> None:
        self.account = account
        self.session = session
        user, password = account.credentials
        self._sdk = Client(
            user,
            password,
            account.account_sid,
            http_client=SessionHttpClient(session, account.credentials),
            # The SDK reads regions and credentials from the process's environment unless it is given another.
            environment={"TWILIO_EDGE": "", "TWILIO_REGION": ""},
        )
        self._sdk.api.base_url = account.base_url
        self._sdk.content.base_url = account.content_base_url

    def serves(self, account: object, session: aiohttp.ClientSession) -> bool:
        """Whether this client was made for these settings and this session."""
        return self.session is session and (self.account is account or self.account == account)

    async def create_message(self, fields: Mapping[str, Any]) -> Any:
        """Create one message and return the SDK's instance. Raises `ChannelError`."""
        try:
            return await self._sdk.messages.create_async(**fields)
        except _UNREADABLE as error:
            raise OutcomeUnknown("Twilio's answer could not be understood.") from error

    async def fetch_message(self, sid: str) -> Any:
        """Fetch one message. Raises `ChannelError`."""
        try:
            return await self._sdk.messages(sid).fetch_async()
        except _UNREADABLE as error:
            raise OutcomeUnknown("Twilio's answer could not be understood.") from error

    async def messages_to(self, recipient: str, *, limit: int) -> Sequence[Any]:
        """The latest messages to a recipient, newest first. Raises `ChannelError`."""
        try:
            page = await self._sdk.messages.page_async(to=recipient, page_size=limit)
            return list(page)
        except _UNREADABLE as error:
            raise OutcomeUnknown("Twilio's answer could not be understood.") from error

    async def account_status(self) -> str:
        """The account's status; with an API key, which may not read accounts, `active` where the key works."""
        try:
            if self.account.api_key_sid:
                await self._sdk.messages.page_async(page_size=1)
                return "active"
            return str((await self._sdk.api.v2010.accounts(self.account.account_sid).fetch_async()).status)
        except _UNREADABLE as error:
            raise OutcomeUnknown("Twilio's answer could not be understood.") from error

    async def templates(self, *, limit: int) -> Sequence[Any]:
        """Content templates with their WhatsApp approvals. Raises `ChannelError`."""
        try:
            found: Sequence[Any] = await self._sdk.content.v1.content_and_approvals.list_async(
                limit=limit, page_size=min(limit, 100)
            )
        except _UNREADABLE as error:
            raise OutcomeUnknown("Twilio's answer could not be understood.") from error
        return found
