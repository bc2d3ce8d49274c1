"""Each row of the error table, as the answer to a send and as a failed status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from error_sheets import sheet_rows
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    DeliveryUpdate,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
    Transient,
    Unsupported,
)
from waypost.plugin.http import HttpReply
from waypost_meta_graph import raise_graph_error
from waypost_whatsapp.errors import ERRORS

Parse = Callable[[Any], list[Any]]

ROWS: list[tuple[type[ChannelError], tuple[int, ...]]] = [
    (AccountBlocked, (0, 190, 368, 131031, 131042)),
    (Misconfigured, (3, 10, 200, 250, 299, 33, 131005, 131030, 131037, 131045)),
    (Misconfigured, (132001, 132007, 132015, 132016, 132068)),
    (Misconfigured, (133000, 133005, 133006, 133008, 133009, 133010, 133015, 134011, 134100, 134101, 134102)),
    (Transient, (1, 2, 131000, 131016, 131052, 131057, 133004)),
    (RateLimited, (4, 80007, 130429, 131048, 131056, 131064, 132069, 133016)),
    (InvalidRecipient, (131026,)),
    (Permanent, (130403, 130472, 130497, 131049)),
    (OptedOut, (131050,)),
    (OutsideWindow, (131047,)),
    (Unsupported, (131051, 131055, 131062, 131063, 131200, 131201, 131299)),
    (ContentRejected, (100, 131008, 131009, 131021, 131053, 132000, 132005, 132008, 132012, 132018)),
    (ContentRejected, (135000, 137000, 2388000, 2388023, 2388999)),
]
CASES = [(code, error) for error, codes in ROWS for code in codes]

#: What the fact sheet's classes are among ours.
SHEET: dict[str, tuple[type[ChannelError], ...]] = {
    "A": (AccountBlocked,),
    "B": (AccountBlocked,),
    "C": (Misconfigured,),
    "L": (RateLimited,),
    "T": (Transient,),
    "W": (OutsideWindow,),
    "O": (OptedOut,),
    "R": (InvalidRecipient, Permanent),
    "Q": (ContentRejected, Unsupported),
}


@pytest.mark.parametrize(("code", "word"), [(code, word) for code, _, word in sheet_rows("whatsapp")])
def test_each_row_of_the_fact_sheet(code: int, word: str) -> None:
    row = ERRORS.find(code)
    assert row is not None
    assert row.error in [error for letter in word.split("/") for error in SHEET[letter]]
    assert row.error is dict(CASES)[code]


@pytest.mark.parametrize(("code", "error"), CASES)
@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
def test_an_answer(code: int, error: type[ChannelError], status: int) -> None:
    body = {"error": {"message": f"(#{code}) to +16505550143", "code": code, "error_data": "a plain string"}}
    reply = HttpReply(status, {}, json.dumps(body).encode())
    with pytest.raises(ChannelError) as caught:
        raise_graph_error(reply, reply.json(), ERRORS)
    assert type(caught.value) is error
    assert caught.value.provider_code == str(code)
    assert "555" not in caught.value.detail


@pytest.mark.parametrize(("code", "error"), CASES)
def test_a_failed_status(code: int, error: type[ChannelError], parse: Parse) -> None:
    failed = {
        "id": "wamid.1",
        "status": "failed",
        "timestamp": "1794302100",
        "recipient_id": "16505550143",
        "errors": [{"code": code, "title": "to +16505550143"}],
    }
    value = {"metadata": {"phone_number_id": "1"}, "statuses": [failed]}
    entry = {"id": "2", "changes": [{"field": "messages", "value": value}]}
    (event,) = parse({"object": "whatsapp_business_account", "entry": [entry]})
    assert isinstance(event, DeliveryUpdate)
    assert (event.status, event.error_code, event.error_class) == ("failed", str(code), error.__name__)
    assert event.error_detail
    assert "555" not in event.error_detail


@pytest.mark.parametrize(("code", "tries"), [(1, 2), (131000, 4), (2, None), (131016, None), (131057, None)])
def test_how_often_a_transient_one_is_worth_it(code: int, tries: int | None) -> None:
    reply = HttpReply(400, {}, json.dumps({"error": {"code": code}}).encode())
    with pytest.raises(Transient) as caught:
        raise_graph_error(reply, reply.json(), ERRORS)
    assert caught.value.tries == tries


@pytest.mark.parametrize(
    ("code", "scope", "seconds"),
    [
        (4, "account", None),
        (80007, "account", None),
        (130429, "sender", None),
        (131048, "sender", 3600),
        (131056, "recipient", 6),
        (131064, "sender", None),
        (132069, "account", None),
        (133016, "sender", 3600),
    ],
)
def test_who_is_limited_and_for_how_long(code: int, scope: str, seconds: float | None) -> None:
    reply = HttpReply(400, {}, json.dumps({"error": {"code": code}}).encode())
    with pytest.raises(RateLimited) as caught:
        raise_graph_error(reply, reply.json(), ERRORS)
    assert (caught.value.scope, caught.value.retry_after) == (scope, seconds)
    told = HttpReply(400, {"retry-after": "30"}, reply.body)
    with pytest.raises(RateLimited) as caught:
        raise_graph_error(told, told.json(), ERRORS)
    assert caught.value.retry_after == 30


@pytest.mark.parametrize(("status", "error"), [(400, Permanent), (401, AccountBlocked), (500, OutcomeUnknown)])
def test_an_unknown_code_follows_the_http_status(status: int, error: type[ChannelError]) -> None:
    reply = HttpReply(status, {}, json.dumps({"error": {"code": 777_777}}).encode())
    with pytest.raises(ChannelError) as caught:
        raise_graph_error(reply, reply.json(), ERRORS)
    assert type(caught.value) is error
