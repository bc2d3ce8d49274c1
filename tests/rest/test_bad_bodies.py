"""Bodies that are wrong in every way: a stable code each, on both databases, and nothing written."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import orjson
import pytest
from deployment import TO, Deployment
from waypost_server import serve
from waypost_server.rest import bodies
from world import Partner

INVALID, VALIDATION = "INVALID_REQUEST", "VALIDATION_ERROR"

#: Not a JSON object that can be read: the same on both APIs.
UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"to=+6591234567&text=hi",
    "cut off": b'{"request": {"channel": "SMS"',
    "trailing": b"{} {}",
    "an array": b"[]",
    "a text": b'"hello"',
    "null": b"null",
    "a number": b"1",
    "not UTF-8": b'{"request": {"content": "\xff\xfe"}}',
    "UTF-16": '{"request": {}}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a lone surrogate": b'{"text": "\\ud800"}',
    "an overlong number": b'{"to": 1e999}',
    "not a number": b'{"to": NaN}',
    "a control character": b'{"text": "\x01"}',
    "a raw NUL": b'{"text": "\x00"}',
    "a comment": b'{"to": 1 /* one */}',
    "deep arrays": b'{"request": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "deeper arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 200 + b"1" + b"}" * 200,
    "a name twice": b'{"to": "+6591234567", "to": "+6591234568", "text": "hi"}',
    "a name twice, once escaped": b'{"to": "+6591234567", "\\u0074o": "+6591234568", "text": "hi"}',
    "a name twice, inside": b'{"request": {"channel": "SMS", "to": "+6591234567", "to": "+6591234568"}}',
}


def _sms(**fields: Any) -> dict[str, Any]:
    given = {"channel": "SMS", "to": TO, "content": "hello"} | fields
    return {"request": {name: value for name, value in given.items() if value is not ...}}


#: Bodies of the partner API, and the field that the answer names.
PARTNER: dict[str, tuple[Any, str, str]] = {
    "no envelope": ({"channel": "SMS", "to": TO, "content": "hello"}, INVALID, "request"),
    "an empty object": ({}, INVALID, "request"),
    "an envelope that is no object": ({"request": []}, INVALID, "request"),
    "an envelope that is null": ({"request": None}, INVALID, "request"),
    "a second field beside it": ({"request": _sms()["request"], "more": 1}, INVALID, "request"),
    "an empty envelope": ({"request": {}}, VALIDATION, "channel"),
    "no channel": (_sms(channel=...), VALIDATION, "channel"),
    "channel a number": (_sms(channel=1), VALIDATION, "channel"),
    "channel empty": (_sms(channel=""), VALIDATION, "channel"),
    "channel unknown": (_sms(channel="PIGEON"), VALIDATION, "channel"),
    "channel long": (_sms(channel="S" * 1000), VALIDATION, "channel"),
    "channel with NUL": (_sms(channel="SMS\x00"), VALIDATION, ""),
    "channel with a line": (_sms(channel="SMS\n"), VALIDATION, "channel"),
    "channel not ASCII": (_sms(channel="ſMS"), VALIDATION, "channel"),
    "no to": (_sms(to=...), VALIDATION, "to"),
    "to null": (_sms(to=None), VALIDATION, "to"),
    "to a number": (_sms(to=6591234567), VALIDATION, "to"),
    "to a list": (_sms(to=[TO]), VALIDATION, "to"),
    "to an object": (_sms(to={"number": TO}), VALIDATION, "to"),
    "to empty": (_sms(to=""), VALIDATION, "to"),
    "to a word": (_sms(to="nobody"), VALIDATION, "to"),
    "to without country": (_sms(to="91234567"), VALIDATION, "to"),
    "to too short": (_sms(to="+1"), VALIDATION, "to"),
    "to too long": (_sms(to="+1234567890123456"), VALIDATION, "to"),
    "to very long": (_sms(to="+" + "1" * 100_000), VALIDATION, "to"),
    "to in other digits": (_sms(to="+٦٥٩١٢٣٤٥٦٧"), VALIDATION, "to"),
    "to with NUL": (_sms(to=TO + "\x00"), VALIDATION, ""),
    "to with a line end": (_sms(to=TO + "\n"), VALIDATION, "to"),
    "to with a header": (_sms(to=TO + "\r\nX-Evil: 1"), VALIDATION, "to"),
    "to with a line separator": (_sms(to=TO + "\u2028"), VALIDATION, "to"),
    "no content": (_sms(content=...), VALIDATION, "content"),
    "content empty": (_sms(content=""), VALIDATION, "content"),
    "content null": (_sms(content=None), VALIDATION, "content"),
    "content a number": (_sms(content=1), VALIDATION, "content"),
    "content a list": (_sms(content=["hello"]), VALIDATION, "content"),
    "content with NUL": (_sms(content="be\x00fore"), VALIDATION, "NUL"),
    "content with only NUL": (_sms(content="\x00"), VALIDATION, "NUL"),
    "content too long for SMS": (_sms(content="x" * 1601), VALIDATION, ""),
    "content too long for us": (_sms(content="x" * 200_001), VALIDATION, "content"),
    "content without kind": (_sms(content={"body": "hello"}), VALIDATION, "content.kind"),
    "content of no kind": (_sms(content={"kind": "pigeon"}), VALIDATION, "kind"),
    "content with a kind that is no text": (_sms(content={"kind": ["text"]}), VALIDATION, "kind"),
    "content of an email's kind": (_sms(content={"kind": "email", "text": "x"}), VALIDATION, "kind"),
    "content with an unknown field": (_sms(content={"kind": "text", "body": "x", "b": 1}), VALIDATION, "b"),
    "content with a wrong field": (_sms(content={"kind": "text", "body": 5}), VALIDATION, "body"),
    "content twice": (_sms(content={"kind": "text", "body": "x"}, mediaUrl="https://a.example/x.png"), VALIDATION, ""),
    "from a number": (_sms(**{"from": 1}), VALIDATION, "from"),
    "from with NUL": (_sms(**{"from": "a\x00b"}), VALIDATION, ""),
    "from with a control character": (_sms(**{"from": "a\x07b"}), VALIDATION, "from"),
    "from very long": (_sms(**{"from": "a" * 100_000}), VALIDATION, "from"),
    "senderId empty": (_sms(senderId=""), VALIDATION, "senderId"),
    "an unknown field": (_sms(colour="red"), VALIDATION, "colour"),
    "a field in another case": (_sms(TO=TO), VALIDATION, "TO"),
    "a field by its Python name": (_sms(template_id="HX"), VALIDATION, "template_id"),
    "a template and content": (_sms(templateId="HX" + "0" * 32), VALIDATION, ""),
    "variables without a template": (_sms(content=..., templateVariables={"1": "x"}), VALIDATION, "templateId"),
    "variables a huge number": (
        _sms(content=..., templateId="HX" + "1" * 32, templateVariables={"1": 1e22}), VALIDATION, "templateVariables"
    ),
    "variables a list": (_sms(content=..., templateId="HX", templateVariables=["x"]), VALIDATION, "templateVariables"),
    "variables with an object": (
        _sms(content=..., templateId="HX" + "1" * 32, templateVariables={"1": {}}), VALIDATION, "templateVariables"
    ),
    "variables with null": (
        _sms(content=..., templateId="HX" + "1" * 32, templateVariables={"1": None}), VALIDATION, "templateVariables"
    ),
    "too many variables": (
        _sms(content=..., templateId="HX" + "1" * 32, templateVariables={str(n): "x" for n in range(101)}),
        VALIDATION, "variables",
    ),
    "a template id that is none": (_sms(content=..., templateId="otp"), VALIDATION, ""),
    "mediaUrl no URL": (_sms(content=..., mediaUrl="file:///etc/passwd"), VALIDATION, "url"),
    "mediaUrl with half an address": (_sms(content=..., mediaUrl="http://[::1/a.jpg"), VALIDATION, "mediaUrl"),
    "mediaUrl of odd characters": (_sms(content=..., mediaUrl="http://a\u2100b.com/a.jpg"), VALIDATION, "mediaUrl"),
    "mediaUrl with a type": (_sms(content=..., mediaUrl="http://[::1/a", mediaType="image"), VALIDATION, "mediaUrl"),
    "mediaType unknown": (_sms(mediaUrl="https://a.example/x", mediaType="hologram"), VALIDATION, "mediaType"),
    "mediaType without mediaUrl": (_sms(mediaType="image"), VALIDATION, "mediaUrl"),
    "a subject on SMS": (_sms(subject="x"), VALIDATION, "kind"),
    "validity a text": (_sms(validity="60"), VALIDATION, "validity"),
    "validity zero": (_sms(validity=0), VALIDATION, "validity"),
    "validity negative": (_sms(validity=-1), VALIDATION, "validity"),
    "validity a fraction": (_sms(validity=1.5), VALIDATION, "validity"),
    "validity true": (_sms(validity=True), VALIDATION, "validity"),
    "validity huge": (_sms(validity=2**63), VALIDATION, "validity"),
    "validity beyond 64 bits": (b'{"request":{"channel":"SMS","to":"+6591234567","content":"x","validity":'
                                b"1" + b"0" * 40 + b"}}", VALIDATION, "validity"),
    "validity of too many digits": (b'{"request":{"channel":"SMS","to":"+6591234567","content":"x","validity":'
                                    b"1" + b"0" * 300 + b"}}", VALIDATION, "validity"),
    "options a list": (_sms(options=[]), VALIDATION, "options"),
    "too many options": (_sms(options={str(n): n for n in range(51)}), VALIDATION, "options"),
    "options with NUL": (_sms(options={"a": {"b": ["\x00"]}}), VALIDATION, "NUL"),
    "options with NUL in a name": (_sms(options={"a\x00": 1}), VALIDATION, "NUL"),
    "an option of the wrong type": (_sms(options={"sendAsMms": "yes"}), VALIDATION, ""),
    "fallback an object": (_sms(fallback={"channel": "SMS"}), VALIDATION, "fallback"),
    "too many fallbacks": (_sms(fallback=[{"channel": "SMS"}] * 6), VALIDATION, "fallback"),
    "a fallback without channel": (_sms(fallback=[{}]), VALIDATION, "fallback.0.channel"),
    "a fallback to a bad number": (_sms(fallback=[{"channel": "SMS", "to": "x"}]), VALIDATION, "to"),
    "a fallback by no channel": (_sms(fallback=[{"channel": "PIGEON"}]), VALIDATION, "channel"),
    "a fallback with an odd until": (_sms(fallback=[{"channel": "SMS", "until": "paid"}]), VALIDATION, "until"),
    "replyTo a number": (_sms(replyTo=1), VALIDATION, "replyTo"),
}  # fmt: skip


def _token(**fields: Any) -> dict[str, Any]:
    given = {"to": TO, "text": "hello"} | fields
    return {name: value for name, value in given.items() if value is not ...}


TOKEN: dict[str, tuple[Any, str]] = {
    "an empty object": ({}, "to"),
    "the other API's envelope": (_sms(), "to"),
    "no to": (_token(to=...), "to"),
    "to a number": (_token(to=6591234567), "to"),
    "to a word": (_token(to="nobody"), "to"),
    "to with NUL": (_token(to=TO + "\x00"), ""),
    "to with a line end": (_token(to=TO + "\n"), "to"),
    "to very long": (_token(to="+" + "1" * 100_000), "to"),
    "no text": (_token(text=...), ""),
    "text empty": (_token(text=""), "text"),
    "text a number": (_token(text=1), "text"),
    "text a list": (_token(text=["x"]), "text"),
    "text an object without type": (_token(text={"body": "x"}), "text"),
    "text with NUL": (_token(text="a\x00"), "NUL"),
    "an unknown field": (_token(colour="red"), "field"),
    "type a number": (_token(type=1), "type"),
    "type unknown": (_token(type="pigeon"), "pigeon"),
    "type odd": (_token(type="Text!"), "type"),
    "type and its object wrong": (_token(type="location", text=..., location=[]), "location"),
    "type's object with a kind": (_token(type="location", text=..., location={"kind": "text"}), "location"),
    "type of another kind": (_token(type="template"), "type"),
    "type image without media": (_token(type="image"), "media_url"),
    "media_url with half an address": (_token(text=..., media_url="http://[::1/a.jpg"), "media_url"),
    "another channel": (_token(channel="WHATSAPP"), "channel"),
    "channel a number": (_token(channel=1), "channel"),
    "validity huge": (_token(validity=2**63), "validity"),
    "variables without template": (_token(text=..., variables={"1": "x"}), "template"),
    "from with a control character": (_token(**{"from": "a\x1b[31m"}), "from"),
}  # fmt: skip


async def _unchanged(gateway: Deployment, rows: dict[str, int]) -> None:
    assert await gateway.rows() == rows
    assert all(not simulator.journal for simulator in gateway.simulators.values())


@pytest.mark.postgres
async def test_bodies_that_cannot_be_read(gateway: Deployment, partner: Partner) -> None:
    rows = await gateway.rows()
    wrong: dict[str, object] = {}
    for name, body in UNREADABLE.items():
        found = (
            (await gateway.send(partner.secret, body=body)).told,
            (await gateway.token(partner.secret, body=body)).told,
        )
        if found != ((400, "INVALID_REQUEST"), (400, "invalid_request")):
            wrong[name] = found
    assert not wrong
    await _unchanged(gateway, rows)


@pytest.mark.postgres
async def test_wrong_requests_to_the_partner_api(gateway: Deployment, partner: Partner) -> None:
    rows = await gateway.rows()
    wrong: dict[str, object] = {}
    for name, (body, code, named) in PARTNER.items():
        answer = await gateway.send(partner.secret, body=body if isinstance(body, bytes) else orjson.dumps(body))
        if answer.told != (400, code) or named not in answer.json["error"] or len(answer.json["error"]) > 300:
            wrong[name] = (answer.status, answer.text[:300])
    assert not wrong
    await _unchanged(gateway, rows)


@pytest.mark.postgres
async def test_wrong_requests_to_the_token_api(gateway: Deployment, partner: Partner) -> None:
    rows = await gateway.rows()
    wrong: dict[str, object] = {}
    for name, (body, named) in TOKEN.items():
        answer = await gateway.token(partner.secret, body=body)
        if answer.told != (400, "validation_error") or named not in answer.json["message"]:
            wrong[name] = (answer.status, answer.text[:300])
    assert not wrong
    await _unchanged(gateway, rows)


async def test_an_error_never_repeats_what_was_sent(gateway: Deployment, partner: Partner) -> None:
    canary = "+6598765432"
    for request in (
        {"channel": "SMS", "to": TO, "content": "x", canary: 1},
        {"channel": "SMS", "to": canary + "x", "content": "x"},
        {"channel": "SMS", "to": TO, "content": {"kind": canary}},
        {"channel": "SMS", "to": TO, "content": {"kind": "text", "body": "x", canary: 1}},
        {"channel": canary, "to": TO, "content": "x"},
        {"channel": "SMS", "to": TO, "templateId": canary},
        {"channel": "SMS", "to": TO, "content": "x", "options": {"sendAt": canary}},
        {"channel": "SMS", "to": TO, "content": "x", "mediaType": canary},
    ):
        answer = await gateway.send(partner.secret, body={"request": request})
        assert answer.told == (400, "VALIDATION_ERROR")
        assert canary not in answer.text


@pytest.mark.parametrize(
    ("path", "head", "status"),
    [
        ("/partner/message/send", "Content-Length: 100", 400),
        ("/api/send-sms.php", "Transfer-Encoding: chunked", 400),
        ("/webhooks/sms_twilio", "Content-Length: 100", 408),
    ],
)
async def test_a_body_that_does_not_come_is_not_waited_for_without_end(
    gateway: Deployment, monkeypatch: pytest.MonkeyPatch, path: str, head: str, status: int
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    begun = b"5\r\nhello\r\n" if "chunked" in head else b"hello"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + begun)
    assert int((await reader.readline()).split()[1]) == status
    writer.close()
    await writer.wait_closed()


async def test_a_node_that_stops_does_not_wait_for_half_a_body(
    gateway: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted gets its time; nothing was promised for what has not even arrived."""
    monkeypatch.setattr(serve, "LAST_BODIES", 0.01)
    listener = serve.listen("127.0.0.1", 0)
    stop = await serve.answer(gateway.node, listener)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"POST /partner/message/send HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
    while not bodies._on_their_way:  # noqa: ASYNC110 - it is the loop's next turns that bring it
        await asyncio.sleep(0)
    await asyncio.wait_for(stop(), 10)
    assert b" 400 " in await reader.readline()
    assert not bodies._on_their_way
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x-gzip", "zstd", "gzip, gzip", "nonsense"])
async def test_compressed_bodies_are_refused_unread(gateway: Deployment, partner: Partner, coding: str) -> None:
    plain = orjson.dumps(_sms())
    for data in (gzip.compress(plain), zlib.compress(plain), gzip.compress(b" " * 10_000_000), b"no such thing", plain):
        answer = await gateway.send(partner.secret, body=data, Content_Encoding=coding)
        assert answer.told == (400, "INVALID_REQUEST"), data[:20]
    answer = await gateway.token(partner.secret, body=gzip.compress(plain), Content_Encoding=coding)
    assert answer.told == (400, "invalid_request")
    assert (await gateway.send(partner.secret)).status == 200


@pytest.mark.postgres
async def test_texts_that_look_dangerous_and_are_not(gateway: Deployment, partner: Partner) -> None:
    for content in (
        'She said \\u0000 and "to": "x"',
        '":":":',
        "emoji 📦 and 汉字, \u202e right to left",
        "line\nbreak\tand\x0bcontrols\x1b[31m",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "%s %n {0} {{jinja}} ${x} '; DROP TABLE message; --",
        "\\",
        "\uffff\ufffe",
    ):
        answer = await gateway.send(partner.secret, {"content": content})
        assert answer.status == 200, content
        assert gateway.simulators["sms_twilio"].journal[-1].fields["Body"] == content


async def test_recipients_are_shown_as_they_were_written(gateway: Deployment, partner: Partner) -> None:
    answer = await gateway.send(partner.secret, {"to": "+65 (9123) 45-67"})
    assert answer.json["data"]["recipient"] == "+65 (9123) 45-67"
    assert gateway.simulators["sms_twilio"].journal[-1].recipient == "+6591234567"
