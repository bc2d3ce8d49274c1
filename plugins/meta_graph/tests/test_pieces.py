"""The tolerant readers never raise, and read what Meta is known to write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost.plugin.received import read_json
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


@given(ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_an_id_is_the_same_whenever_it_is_read(body: bytes) -> None:
    assert piece_id("x", read_json(body)) == piece_id("x", read_json(body))


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
