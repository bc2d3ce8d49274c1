"""Redaction: what proved who sent a delivery is not kept with it, where it is one of our secrets itself.

Some providers sign; others repeat a secret that was agreed with them, in a query parameter or a header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, SecretStr

from waypost.plugin.settings import REDACTED, Settings
from waypost.plugin.types import WebhookRequest

#: Whose secrets are remembered, at most.
REMEMBERED = 1_000
#: A secret of so many characters is found within a value too, as in `Bearer …`; a shorter one may be there by chance.
LONG = 12


class Redactor:
    """Takes secrets out of requests; settings are looked through once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Settings, tuple[str, ...]]] = {}

    def without_secrets(self, request: WebhookRequest, *settings: Settings | None) -> WebhookRequest:
        """The request with none of these settings' secrets in its query or its headers; itself where there is none."""
        secrets = [secret for found in settings if found is not None for secret in self._secrets(found)]
        if request.query and (query := _without(secrets, request.query)) is not request.query:
            url = urlsplit(request.url)._replace(query=urlencode(query)).geturl()
            request = replace(request, url=url, query=query)
        if (headers := _without(secrets, request.headers)) is not request.headers:
            request = replace(request, headers=headers)
        return request

    def _secrets(self, settings: Settings) -> tuple[str, ...]:
        known = self._known.get(id(settings))
        if known is None or known[0] is not settings:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[id(settings)] = settings, tuple(set(_secrets_in(settings)))
        return known[1]


def _without(secrets: Sequence[str], pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The pairs with secret values redacted; the very same ones where there are none, which is looked at first."""
    text = "\n".join([value for _, value in pairs])
    if not any(secret in text for secret in secrets):
        return pairs
    found = [_is_secret(secrets, value) for _, value in pairs]
    if not any(found):
        return pairs
    return tuple((name, REDACTED if secret else value) for (name, value), secret in zip(pairs, found, strict=True))


def _is_secret(secrets: Sequence[str], value: str) -> bool:
    return any(secret == value or (len(secret) >= LONG and secret in value) for secret in secrets)


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        if value.get_secret_value():
            yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for item in value.__dict__.values():
            yield from _secrets_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets_in(item)
