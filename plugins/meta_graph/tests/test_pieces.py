"""The tolerant readers never raise, and read what Meta is known to write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost_meta_graph import event_id, piece_id, pieces

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1767225600,
        "1767225600",
        1767225600.0,
        1767225600000,
        "1767225600000",
        "2026-01-01T00:00:00+0000",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
    ],
)
def test_moments(value: Any) -> None:
    assert pieces.moment(value) == NEW_YEAR


@pytest.mark.parametrize(
    "value", [None, True, "", "yesterday", "²", -5, 0, float("nan"), float("inf"), 10**30, "9" * 40, [], {}]
)
def test_what_is_no_moment(value: Any) -> None:
    assert pieces.moment(value) is None


@given(ANYTHING)
def test_readers_never_raise(value: Any) -> None:
    piece = {"key": value}
    for reader in (pieces.text, pieces.whole, pieces.decimal, pieces.flag, pieces.moment_at, pieces.items):
        reader(piece, "key")
        reader(value, "key")
    list(pieces.objects(piece, "key"))
    assert isinstance(pieces.child(value, "a", "b"), dict)
    assert isinstance(pieces.child(piece, "key", "b"), dict)


@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_loaded_can_be_stored_and_hashed(body: bytes) -> None:
    value = pieces.load(body)
    assert b"\\u0000" not in orjson.dumps(value)
    assert piece_id("x", value) == piece_id("x", pieces.load(body))


def test_lone_surrogates_and_nul_are_mended() -> None:
    assert pieces.load(b'{"a":"x\\ud83dy","b\\u0000":"\\ud83d\\ude00"}') == {"a": "x\ufffdy", "b\ufffd": "\U0001f600"}


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_unreadable(depth: int) -> None:
    assert pieces.load(b"[" * depth + b"]" * depth) is None


def test_huge_numbers_do_not_break_a_document() -> None:
    assert pieces.load(b'{"a":1e999,"b":1}') == {"a": None, "b": 1}
    assert pieces.load(b'{"id":123456789012345678}') == {"id": 123456789012345678}


def test_numbers_read_as_text() -> None:
    assert pieces.text({"id": 1234567890123456}, "id") == "1234567890123456"
    assert pieces.text({"id": True}, "id") is None
    assert pieces.text({"id": ""}, "id") is None


def test_ids_ignore_key_order_and_are_short() -> None:
    assert piece_id("k", {"a": 1, "b": 2}) == piece_id("k", {"b": 2, "a": 1})
    assert piece_id("k", {"a": 1}) != piece_id("k", {"a": 2})
    assert event_id("message", "m1", None) == "message:m1:"
    assert len(event_id("message", "m" * 5000)) < 100
    assert event_id("message", "m" * 5000) != event_id("message", "m" * 5001)
