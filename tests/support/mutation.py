"""Mutations of documented deliveries: what parsers meet when providers change their minds, or strangers the bytes."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from waypost.plugin import WebhookRequest

#: What stands in the place of a node: every JSON type, and what is awkward about each.
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e-308, 2**31, 2**63, 2**64, 10**30, 10**400, "", " ", "x", "0", "-1",
    "1e309", "NaN", "9" * 40, "٣", "\x00", "a\x00b", "\ud800", "\udfff x", "😀" * 40, "x" * 20_000, "\u202e", "sent",
    "delivered", "2026-13-45T99:99:99Z", "1794300000", "99999999999999999", [], [[]], [None], {}, {"": ""}, [{}],
    {"id": None}, ["x"] * 500, {"a": {"b": {"c": {}}}}, "@@deep@@",
)  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """A multipart form: what is between its boundaries, each part's headers and data."""

    boundary: bytes
    parts: tuple[tuple[bytes, bytes], ...]


class Mutator:
    """Makes strange deliveries of documented ones; the same ones for the same seed."""

    def __init__(self, seeds: list[WebhookRequest], seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = seeds
        self._documents = [_document(request) for request in seeds]

    def mutated(self) -> WebhookRequest:
        """The next delivery."""
        number = self._random.randrange(len(self._seeds))
        request, document = self._seeds[number], self._documents[number]
        if document is None or self._random.random() < 0.2:
            return replace(request, body=self._bytes(request.body))
        if isinstance(document, dict) and _is_form(request):
            return self._form(request, document)
        if isinstance(document, Parts):
            return replace(request, body=self._parts(document))
        changed = deepcopy(document)
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            changed = self._tree(changed)
        body = _dump(changed)
        if self._random.random() < 0.02:
            body = self._bytes(body)
        return replace(request, body=body)

    # ---- JSON

    def _tree(self, document: Any) -> Any:
        """Change one node."""
        places = list(_places(document))
        if not places:
            return deepcopy(self._random.choice(STRANGE))  # it is changed in its turn
        holder, key = self._random.choice(places)
        self._random.choice((self._replace, self._replace, self._delete, self._double, self._deepen, self._swap))(
            holder, key, places
        )
        return document

    def _replace(self, holder: Any, key: Any, _: Any) -> None:
        holder[key] = deepcopy(self._random.choice(STRANGE))

    def _delete(self, holder: Any, key: Any, _: Any) -> None:
        del holder[key]

    def _double(self, holder: Any, key: Any, _: Any) -> None:
        if isinstance(holder, list):
            holder[key:key] = [deepcopy(holder[key]) for _ in range(self._random.choice((1, 2, 20)))]
        else:
            holder[f"{key}{self._random.choice(('', 's', '_', 'X'))}"] = deepcopy(holder[key])

    def _deepen(self, holder: Any, key: Any, _: Any) -> None:
        inner = holder[key]
        for _ in range(self._random.choice((1, 2, 30))):
            inner = [inner] if self._random.random() < 0.5 else {"x": inner}
        holder[key] = inner

    def _swap(self, holder: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
        other, there = self._random.choice(places)
        holder[key] = deepcopy(other[there])

    # ---- forms

    def _form(self, request: WebhookRequest, form: dict[str, str]) -> WebhookRequest:
        pairs = list(form.items())
        for _ in range(self._random.choice((1, 1, 2, 4))):
            at = self._random.randrange(len(pairs)) if pairs else 0
            strange = self._random.choice(STRANGE)
            value = strange if isinstance(strange, str) else _dump(strange).decode()
            action = self._random.randrange(4)
            if not pairs or action == 0:
                pairs.insert(at, (self._random.choice(pairs)[0] if pairs else "Body", value))
            elif action == 1:
                pairs[at] = (pairs[at][0], value)
            elif action == 2:
                del pairs[at]
            else:
                pairs[at] = (value[:50], pairs[at][1])
        encoded = urlencode(pairs, errors="surrogatepass").encode()
        if request.method == "GET":
            return replace(request, url=f"{request.url.partition('?')[0]}?{encoded.decode()}", query=tuple(pairs))
        return replace(request, body=encoded)

    # ---- multipart forms

    def _parts(self, form: Parts) -> bytes:
        """Change parts: their values as what they hold (JSON, header lines, text), their own headers, the order."""
        parts = list(form.parts)
        for _ in range(self._random.choice((1, 1, 2, 4))):
            at = self._random.randrange(len(parts)) if parts else 0
            action = self._random.randrange(12)
            if not parts or action == 0:
                parts.insert(at, self._random.choice(form.parts))
            elif action == 1:
                del parts[at]
            elif action == 2:
                parts[at] = (parts[at][0], self._random.choice(form.parts)[1])
            elif action == 3:
                parts[at] = (self._bytes(parts[at][0]), parts[at][1])
            else:
                parts[at] = (parts[at][0], self._value(parts[at][1]))
        opening = b"--" + form.boundary
        written = b"".join(opening + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
        return written + opening + b"--\r\n"

    def _value(self, data: bytes) -> bytes:
        """Another value for a part: of the same kind three times in four."""
        action = self._random.randrange(8)
        if action == 0:
            return self._strange()
        if action == 1:
            return self._bytes(data)
        if data[:1] in b"{[":
            try:
                return _dump(self._tree(json.loads(data)))
            except (ValueError, RecursionError):
                return self._bytes(data)
        if b": " in data:
            return self._line(data)
        at = self._random.randrange(len(data) + 1)
        return data[:at] + self._strange() + data[at:]

    def _line(self, data: bytes) -> bytes:
        """Another value, or another name, in one of the header lines."""
        lines = data.split(b"\n")
        at = self._random.randrange(len(lines))
        name, _, value = lines[at].partition(b": ")
        lines[at] = name + b": " + self._strange() if self._random.random() < 0.7 else self._strange() + b": " + value
        return b"\n".join(lines)

    def _strange(self) -> bytes:
        strange = self._random.choice(STRANGE)
        return strange.encode("utf-8", "surrogatepass") if isinstance(strange, str) else _dump(strange)

    # ---- bytes

    def _bytes(self, body: bytes) -> bytes:
        """Cut, flip, insert, repeat, nest."""
        changed = bytearray(body)
        for _ in range(self._random.choice((1, 1, 2, 5))):
            at = self._random.randrange(len(changed) + 1)
            changed = self._bytes_at(changed, at)
        return bytes(changed)

    def _bytes_at(self, body: bytearray, at: int) -> bytearray:
        chosen = self._random
        before, after = body[:at], body[at:]
        action = chosen.randrange(10)
        if action == 0:
            return before
        if action == 1:
            return after
        inserted = {
            2: chosen.randbytes(chosen.randrange(1, 9)),
            3: body[at // 2 : at] * 2,
            4: b"\\ud800",
            5: b"[" * chosen.choice((10, 5000)),
            6: b"9" * chosen.choice((5, 5000)),
        }
        if action in inserted:
            return before + inserted[action] + after
        return _flipped(body, at, chosen.randrange(8))


def _flipped(body: bytearray, at: int, bit: int) -> bytearray:
    flipped = bytearray(body)
    if at < len(flipped):
        flipped[at] ^= 1 << bit
    return flipped


def _is_form(request: WebhookRequest) -> bool:
    return request.method == "GET" or "urlencoded" in (request.header("content-type") or "")


def _document(request: WebhookRequest) -> Any:
    """What the delivery holds: a JSON document, a form's fields or a multipart form; None for anything else."""
    if request.method == "GET":
        return dict(request.query)
    boundary = (request.header("content-type") or "").partition("boundary=")[2].strip('"').encode()
    if boundary:
        return _split(boundary, request.body)
    if _is_form(request):
        return dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    try:
        return json.loads(request.body)
    except ValueError:
        return None


def _split(boundary: bytes, body: bytes) -> Parts:
    parts = [part[2:-2].partition(b"\r\n\r\n") for part in body.split(b"--" + boundary)[1:-1]]
    return Parts(boundary, tuple((head, data) for head, _, data in parts))


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode().replace(b'"@@deep@@"', b"[" * 900 + b"]" * 900)


def _places(node: Any) -> Any:
    """Every (holder, key) in a document."""
    stack = [node]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            stack.append(holder[key])
