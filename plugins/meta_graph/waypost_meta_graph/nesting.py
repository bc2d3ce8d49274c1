"""JSON that is nested without sense: what lies too deep is kept as text, so that the rest can be read and stored."""

from __future__ import annotations

import json
import re

#: Levels of objects and arrays that are read. Meta's own documents have about 15; our writers take some 250.
DEEPEST = 200
#: What reaches deeper becomes text below this level. The distance bounds how many cuts a document can ask for.
_CUT_BELOW = 100

#: Texts, closed or not, so that brackets in them do not count; and brackets, those of one direction together.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]++|[\]}]++', re.DOTALL)


def surely_shallow(body: bytes) -> bool:
    """Whether a document has too few objects and arrays to be nested too deep."""
    return body.count(b"{") + body.count(b"[") <= DEEPEST


def cut(body: bytes) -> bytes:
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
            too_deep = too_deep or depth > DEEPEST
        elif body[start] in b"]}":
            if too_deep and depth - (end - start) <= _CUT_BELOW:
                ended = start + depth - _CUT_BELOW
                pieces += (body[kept:begun], _as_text(body[begun:ended]))
                kept, too_deep = ended, False
            depth -= end - start
    return b"".join([*pieces, body[kept:begun] if too_deep else body[kept:]])


def _as_text(piece: bytes) -> bytes:
    return json.dumps(piece.decode("utf-8", "replace")).encode()
