"""JSON that somebody sent us is read so that it can be stored, and no piece of it costs its neighbours."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost.plugin.received import read_json

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_read_can_be_stored(body: bytes) -> None:
    value = read_json(body)
    assert b"\\u0000" not in orjson.dumps(value)


def test_lone_surrogates_and_nul_are_mended() -> None:
    assert read_json(b'{"a":"x\\ud83dy","b\\u0000":"\\ud83d\\ude00"}') == {"a": "x\ufffdy", "b\ufffd": "\U0001f600"}


def nested(depth: int, opening: str = '{"a":[', closing: str = "]}") -> str:
    return opening * (depth // 2) + '"in [the {depths"' + closing * (depth // 2)


def levels(value: Any) -> int:
    """How deep a value is nested."""
    deepest, here = 0, [value]
    while here := [piece for piece in here if isinstance(piece, dict | list)]:
        deepest += 1
        here = [item for piece in here for item in (piece.values() if isinstance(piece, dict) else piece)]
    return deepest


@pytest.mark.parametrize("name", ["a", "a" * 40])
@pytest.mark.parametrize("depth", [202, 250, 300, 1000, 1100, 100_000])
def test_only_what_is_nested_too_deep_becomes_text(depth: int, name: str) -> None:
    """Whether brackets are most of it, or only now and then one between other things."""
    deep = nested(depth, f'{{"{name}":[')
    text = '{"id":"[[[{\\"","deep":[1,%s,2,%s],"neighbour":{"b":[2]}}'
    value = read_json((text % (deep, deep)).encode())
    assert (value["id"], value["neighbour"]) == ('[[[{"', {"b": [2]})
    assert (value["deep"][0], value["deep"][2]) == (1, 2)
    for kept in (value["deep"][1], value["deep"][3]):
        read = ""
        while not isinstance(kept, str):
            read += f'{{"{name}":' if isinstance(kept, dict) else "["
            kept = kept[name] if isinstance(kept, dict) else kept[0]
        # All of it is still there: what could be read, and the rest as it was written.
        assert deep.startswith(read + (kept if kept.startswith(("{", "[")) else json.dumps(kept)))
        assert "in [the {depths" in kept
    assert orjson.dumps([value] * 2)
    assert levels(value) < 250


@pytest.mark.parametrize("depth", [1, 99, 100, 101, 198, 199])
def test_what_can_be_stored_is_not_cut(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    assert read_json(f'{{"a":{deep},"b":"\\u0000"}}'.encode())["a"] == json.loads(deep)
    assert read_json(f'{{"a":{deep},"b":{"[[]]"}}}'.encode())["a"] == json.loads(deep)


@pytest.mark.parametrize("body", [b"[" * 300, b"[" * 100_000, b'{"a":' * 300 + b"]" * 300, b'["' + b"[" * 300, b'"\\'])
def test_what_is_no_json_stays_unreadable(body: bytes) -> None:
    assert read_json(body) is None


def test_what_lies_beside_too_deep_a_value_is_not_cut_with_it() -> None:
    deep = "[" * 300 + "]" * 300
    value = read_json(("[" * 100 + f'{deep},{{"b":1}},{deep},2' + "]" * 100).encode())
    for _ in range(99):
        (value,) = value
    assert value == [deep, {"b": 1}, deep, 2]


def test_deep_values_hold_whatever_json_holds() -> None:
    value = read_json(b'{"a":"\xff","deep":' + b"[" * 2000 + b'"\xff\\ud800\\u0000",NaN' + b"]" * 2000 + b',"b":1}')
    assert (value["a"], value["b"]) == ("\ufffd", 1)
    orjson.dumps(value)


#: What costs most for each byte: a piece to take, and one with what makes every piece be read again.
COSTLY = [
    ("[" * 300 + "]" * 300 + ",", ""),
    ("[],", "[" * 300 + "]" * 300 + ","),
    ("[[]],", "[" * 1100 + "]" * 1100 + ","),
    ('"",', "[" * 300 + "]" * 300 + ","),
    ('\\"', ""),
    ('"', ""),
    ('"\\ud800",', ""),
    ('"\\u0000",', ""),
    ("NaN,", ""),
    ("1,", "1e999,"),
    ("9", ""),
    ('{"a":1},', "NaN,"),
    ("[", ""),
]


@pytest.mark.parametrize(("piece", "spoiler"), COSTLY)
def test_reading_takes_time_in_proportion_to_the_length(piece: str, spoiler: str) -> None:
    body = f"[{spoiler}{piece * (500_000 // len(piece))}0]".encode()
    began = time.process_time()
    read_json(body)
    # Half a second on a slow day; a reader in quadratic time needs minutes.
    assert time.process_time() - began < 5


def test_huge_numbers_do_not_break_a_document() -> None:
    assert read_json(b'{"a":1e999,"b":1}') == {"a": None, "b": 1}
    assert read_json(b'{"a":NaN,"b":[Infinity,-Infinity,2.5]}') == {"a": None, "b": [None, None, 2.5]}
    assert read_json(b'{"id":123456789012345678}') == {"id": 123456789012345678}
