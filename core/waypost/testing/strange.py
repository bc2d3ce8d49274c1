"""Deliveries as a stranger would send them, and as a provider sends them on a bad day."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from waypost.plugin.types import WebhookRequest

#: Headers that say nothing of who sent a delivery.
ORDINARY_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)
FORM = "application/x-www-form-urlencoded"

JUNK_SIGNATURES = ("junk", "=", "sha256=" + "0" * 64, "sha256=", "v1,AAAA", "Basic !!!", "Bearer x", "a=b,c=d", "\x00")
NON_ASCII_SIGNATURES = ("sha256=é", "☃" * 16, "\udcff\udcfe", "\U0001f4a5", "sha256=" + "٣" * 64)
#: Half a character, as a text cut in the middle of an emoji has it; what PostgreSQL cannot hold; no number; too deep.
UNREADABLE: tuple[Any, ...] = ("\ud83d", "\0", float("nan"), json.loads("[" * 300 + "]" * 300))
HUGE_SIGNATURE = "A" * (1 << 20)


def unsigned(request: WebhookRequest) -> WebhookRequest:
    """The delivery without anything that proves where it comes from."""
    headers = tuple((name, value) for name, value in request.headers if name in ORDINARY_HEADERS)
    return replace(request, headers=headers, query=(), url=request.url.partition("?")[0])


def tampered(request: WebhookRequest) -> WebhookRequest:
    """The delivery with one character of its body changed (of its query, where it has no body)."""
    if request.body:
        return replace(request, body=_changed(request.body))
    query = tuple((name, _changed(value.encode()).decode()) for name, value in request.query)
    return replace(request, query=query, url=f"{request.url.partition('?')[0]}?{urlencode(query)}")


def _changed(data: bytes) -> bytes:
    for place in range(len(data) - 1, -1, -1):
        if chr(data[place]).isascii() and chr(data[place]).isalnum():
            other = b"7" if data[place : place + 1] != b"7" else b"8"
            return data[:place] + other + data[place + 1 :]
    return data + b"7"


def signed_with(request: WebhookRequest, junk: str) -> WebhookRequest:
    """The delivery with junk in place of every header and parameter that might prove something."""
    headers = tuple((name, value if name in ORDINARY_HEADERS else junk) for name, value in request.headers)
    query = tuple((name, junk) for name, _ in request.query)
    encoded = urlencode(query, errors="surrogatepass")
    url = request.url.partition("?")[0] + (f"?{encoded}" if query else "")
    return replace(request, headers=headers, query=query, url=url)


def each_signed_with(request: WebhookRequest, junk: str) -> list[WebhookRequest]:
    """The same with one header at a time: the others still hold what the provider sent."""
    return [
        replace(
            request,
            headers=tuple((name, junk if at == place else value) for at, (name, value) in enumerate(request.headers)),
        )
        for place, (name, _) in enumerate(request.headers)
        if name not in ORDINARY_HEADERS
    ]


def mutated(request: WebhookRequest, chance: random.Random, junk: Any) -> WebhookRequest:
    """The delivery with something in its body replaced by junk (any JSON), dropped, doubled or garbled."""
    try:
        value = json.loads(request.body)
    except ValueError:
        if (request.header("content-type") or "").startswith(FORM):
            return replace(request, body=_mutated_form(request.body, chance, junk))
        return replace(request, body=_garbled(request.body, chance))
    if chance.random() < 0.1:
        return replace(request, body=_garbled(request.body, chance))
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        value = _mutated_json(value, chance, junk)
    return replace(request, body=json.dumps(value).encode())


def with_unreadable_texts(request: WebhookRequest) -> Iterator[WebhookRequest]:
    """The delivery with one text of its JSON replaced by what strict readers refuse, each in turn; none for a form."""
    try:
        value = json.loads(request.body)
    except ValueError:
        return
    for changed in _each_text_replaced(value):
        yield replace(request, body=json.dumps(changed).encode())


def _each_text_replaced(value: Any) -> Iterator[Any]:
    if isinstance(value, str):
        yield from UNREADABLE
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in _each_text_replaced(item))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from ({**value, name: changed} for changed in _each_text_replaced(item))


def _mutated_json(value: Any, chance: random.Random, junk: Any) -> Any:
    """Walk down at random, and change what is found there."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        return _changed_member(value, name, chance, junk)
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], _mutated_json(value[place], chance, junk), *value[place + 1 :]]
    changes: tuple[Callable[[], Any], ...] = (lambda: junk, lambda: [value], lambda: {"x": value}, lambda: None)
    return chance.choice(changes)()


def _changed_member(value: dict[str, Any], name: str, chance: random.Random, junk: Any) -> dict[str, Any]:
    what = chance.random()
    if what < 0.1:
        return {key: item for key, item in value.items() if key != name}
    if what < 0.15:
        return {**value, f"{name}_new": junk}
    return {**value, name: _mutated_json(value[name], chance, junk)}


def _mutated_form(body: bytes, chance: random.Random, junk: Any) -> bytes:
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    if not pairs or chance.random() < 0.1:
        return _garbled(body, chance)
    place = chance.randrange(len(pairs))
    text = junk if isinstance(junk, str) else json.dumps(junk)
    name, value = pairs[place]
    changes: tuple[list[tuple[str, str]], ...] = ([], [(name, text)], [(name, value), (name, value)], [(text, value)])
    changed = [*pairs[:place], *chance.choice(changes), *pairs[place + 1 :]]
    return urlencode(changed, errors="surrogatepass").encode()


def _garbled(body: bytes, chance: random.Random) -> bytes:
    if not body:
        return b"\xff"
    place = chance.randrange(len(body))
    return body[:place] + chance.choice((b"", b"\xff", b"\x00", body[place:] * 2)) + body[place + 1 :]
