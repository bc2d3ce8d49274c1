"""JSON that somebody sent us: read so that it can be stored, whatever one piece of it holds.

A provider's delivery may carry what people wrote, and many pieces of which one is strange. That one is mended, and its
neighbours are read as if it were not there.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

#: Levels of objects and arrays that are read. Meta's own documents have about 15; our writers take some 250.
_DEEPEST = 200
#: What reaches deeper becomes text below this level. The distance bounds how many cuts a document can ask for.
_CUT_BELOW = 100

#: Texts, closed or not, so that brackets in them do not count; and brackets, those of one direction together.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]++|[\]}]++', re.DOTALL)
#: How much deeper than the document itself its pieces may lie in what is made of them.
_SPARE_LEVELS = 16
#: What neither UTF-8 nor PostgreSQL can hold.
_UNSTORABLE = re.compile(r"[\ud800-\udfff\0]")


def read_json(body: bytes) -> Any:
    """Read a JSON document, mended where it could not be stored; None for what is not JSON.

    Lone surrogates and NUL become U+FFFD, numbers beyond a float become null, control characters are taken as they are;
    what is nested so deep that a JSON writer would refuse it becomes a text that holds its JSON. All else is read as if
    they were not there.
    """
    openings = body.count(b"{") + body.count(b"[")
    if openings > max(_DEEPEST, len(body) // 8):
        body = _cut(body)  # before a reader makes hundreds of thousands of lists of it, to be thrown away
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _load_leniently(body)
    if b"\\u0000" in body:
        return _load_leniently(body)
    if openings <= _DEEPEST or _can_be_written(value):
        return value
    return orjson.loads(_cut(body))


def _can_be_written(value: Any) -> bool:
    for _ in range(_SPARE_LEVELS):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True


def _load_leniently(body: bytes) -> Any:
    text = _cut(body).decode("utf-8", "replace")
    try:
        value = json.loads(text, strict=False, parse_int=_whole, parse_float=_finite, parse_constant=lambda _: None)
    except ValueError:
        return None
    return _mended(value)


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 19 else digits


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mended(item) for item in value]
    return value


def _cut(body: bytes) -> bytes:
    """The document with each object and array that reaches too deep as a text that holds its JSON; in linear time.

    What begins too deep and never ends is left out: without it the document is not JSON, as it was before.
    """
    pieces: list[bytes] = []
    depth = kept = begun = 0
    too_deep = False
    for token in _TOKENS.finditer(body):
        start, end = token.span()
        if body[start] in b"[{":
            if depth <= _CUT_BELOW < depth + end - start:
                begun, too_deep = start + _CUT_BELOW - depth, False
            depth += end - start
            too_deep = too_deep or depth > _DEEPEST
        elif body[start] in b"]}":
            if too_deep and depth - (end - start) <= _CUT_BELOW:
                ended = start + depth - _CUT_BELOW
                pieces += (body[kept:begun], _as_text(body[begun:ended]))
                kept, too_deep = ended, False
            depth -= end - start
    return b"".join([*pieces, body[kept:begun] if too_deep else body[kept:]])


def _as_text(piece: bytes) -> bytes:
    return json.dumps(piece.decode("utf-8", "replace")).encode()
