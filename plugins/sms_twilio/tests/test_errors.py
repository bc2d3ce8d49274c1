"""Each code of Twilio's error table becomes its class, in answers and in receipts, and shows nothing private."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from error_sheets import sheet_rows
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    Context,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
    Template,
    Text,
    Transient,
)
from waypost.plugin.http import HttpReply
from waypost_sms_twilio.channel import sms, whatsapp
from waypost_sms_twilio.client import TwilioClient
from waypost_sms_twilio.errors import ERRORS, error_code, error_for, raise_for_reply, receipt_error
from waypost_sms_twilio.settings import TwilioSettings

Make = Callable[..., OutboundMessage]


def _row(codes: Iterable[int], cls: type[ChannelError]) -> list[tuple[int, type[ChannelError]]]:
    return [(code, cls) for code in codes]


#: The table of Twilio's error dictionary, row by row; it is written out again here so that a slip shows.
TABLE = [
    *_row([20003, *range(20101, 20108)], AccountBlocked),
    *_row([20005, 30002], AccountBlocked),
    *_row([20008], Misconfigured),
    *_row([20403, 20006], Misconfigured),
    *_row([20404], Misconfigured),
    *_row([20409, 20422], Permanent),
    *_row([20429, 429], RateLimited),
    *_row([20500, 20503], OutcomeUnknown),
    *_row([14107], RateLimited),
    *_row([21211, 21614, 21401, 21217], InvalidRecipient),
    *_row([21212, 21603, 21606, 21601, 21609, *range(21701, 21706), 21709, 21712], Misconfigured),
    *_row([21408], Misconfigured),
    *_row([21608, 21219], Misconfigured),
    *_row([21610], OptedOut),
    *_row([21611], RateLimited),
    *_row([21612], InvalidRecipient),
    *_row([21602, 21604, 21617, 21619, 21620, 21623, 21624, 21656], ContentRejected),
    *_row([21654, 21655], Misconfigured),
    *_row([30001], RateLimited),
    *_row([30003], Transient),
    *_row([30004], InvalidRecipient),
    *_row([30005], InvalidRecipient),
    *_row([30006], InvalidRecipient),
    *_row([30007], ContentRejected),
    *_row([30008], Transient),
    *_row([30009], Permanent),
    *_row([30010], Misconfigured),
    *_row([30011, 30019], ContentRejected),
    *_row([30017], Transient),
    *_row([30018, 30024, 30032, 30034], Misconfigured),
    *_row([30022], RateLimited),
    *_row([30023, 30025, 30026, 30027], RateLimited),
    *_row([30036], Permanent),
    *_row([30409], Permanent),
    *_row([30410], OutcomeUnknown),
    *_row([63001], AccountBlocked),
    *_row([63002, 63007, 63008], Misconfigured),
    *_row([63003, 63024], InvalidRecipient),
    *_row([63005, 63006, 63011, 63021, 63030, 63031], ContentRejected),
    *_row([63009, 63010, 63012, 63023], Transient),
    *_row([63013, 63020, 63026, 63039], AccountBlocked),
    *_row([63014, 63033], OptedOut),
    *_row([63015], Misconfigured),
    *_row([63016], OutsideWindow),
    *_row([63017], RateLimited),
    *_row([63018], RateLimited),
    *_row([63019, 63037], ContentRejected),
    *_row([63022], Misconfigured),
    *_row([63025], Transient),
    *_row([63027, 63040, 63041], Misconfigured),
    *_row([63028], ContentRejected),
    *_row([63029], InvalidRecipient),
    *_row([63032], Permanent),
    *_row([63034], ContentRejected),
    *_row([63035], Misconfigured),
    *_row([63036], InvalidRecipient),
    *_row([63038], RateLimited),
    *_row([63049], Permanent),
    *_row([63050], OptedOut),
    *_row([63062], Misconfigured),
    *_row(range(11200, 11238), Misconfigured),
]

#: What the fact sheet's classes are among ours.
SHEET: dict[str, tuple[type[ChannelError], ...]] = {
    "auth": (AccountBlocked,),
    "account": (AccountBlocked,),
    "config": (Misconfigured,),
    "our fault": (Misconfigured,),
    "outside window": (OutsideWindow,),
    "opt-out": (OptedOut,),
    "opt-out / permanent recipient": (OptedOut,),
    "permanent recipient": (InvalidRecipient,),
    "permanent recipient (or other sender)": (InvalidRecipient,),
    # The address itself is good, and is not to be given up.
    "permanent recipient now": (Permanent,),
    "permanent request": (ContentRejected, Permanent),
    "permanent request or transient": (ContentRejected,),
    "permanent for this content/sender": (ContentRejected,),
    "expired: resend only if still useful": (Permanent,),
    "none": (Permanent,),
    "rate limit": (RateLimited,),
    "rate limit until next day": (RateLimited,),
    "transient (rate)": (RateLimited,),
    "transient": (Transient,),
    "transient once": (Transient,),
    "transient for hours; not a bad number": (Transient,),
    "transient, outcome unknown": (OutcomeUnknown,),
}
#: The sheet says transient; but no page of Twilio's says that such a request was not processed.
DIFFERENT = {20500: OutcomeUnknown, 20503: OutcomeUnknown}


@pytest.mark.parametrize(("code", "word"), [(code, word) for code, _, word in sheet_rows("sms_twilio")])
def test_each_row_of_the_fact_sheet(code: int, word: str) -> None:
    cls, _ = ERRORS[code]
    assert cls in ((DIFFERENT[code],) if code in DIFFERENT else SHEET[word])
    assert cls is dict(TABLE)[code]


#: Of which the sheet's rows give the ends.
RANGES = (range(11200, 11238), range(20101, 20108), range(21701, 21706))


def test_no_code_is_of_our_own_making() -> None:
    listed = {code for code, _, _ in sheet_rows("sms_twilio")}
    assert set(ERRORS) == listed.union(*RANGES)
    for codes in RANGES:
        assert {codes[0], codes[-1]} <= listed
        assert len({ERRORS[code] for code in codes}) == 1


PRIVATE = "to +14155550142: 'my secret text'"


@pytest.mark.parametrize(("code", "cls"), TABLE)
def test_an_answer_with_this_code(code: int, cls: type[ChannelError]) -> None:
    body = json.dumps({"code": code, "message": PRIVATE, "status": 400}).encode()
    with pytest.raises(ChannelError) as caught:
        raise_for_reply(HttpReply(400, {}, body))
    error = caught.value
    assert type(error) is cls
    assert (error.provider_code, error.http_status) == (str(code), 400)
    assert "4155550142" not in error.detail
    assert "secret" not in error.detail


@pytest.mark.parametrize(("code", "cls"), TABLE)
def test_a_receipt_with_this_code(code: int, cls: type[ChannelError]) -> None:
    fields = receipt_error("failed", str(code))
    assert fields["error_code"] == str(code)
    assert fields["error_class"] == cls.__name__
    assert fields["error_detail"].endswith(".")


def test_the_table_is_complete() -> None:
    assert {code for code, _ in TABLE} == set(ERRORS)


@pytest.mark.parametrize(
    ("code", "scope", "wait"),
    [
        (20429, "account", None),
        (21611, "sender", None),
        (63038, "account", 3600),
        (30023, "sender", 3600),
        (63018, "sender", None),
    ],
)
def test_a_rate_limit_says_who_and_how_long(code: int, scope: str, wait: float | None) -> None:
    error = error_for(code)
    assert isinstance(error, RateLimited)
    assert (error.scope, error.retry_after) == (scope, wait)


#: What one sender, and not the whole account, has sent too much of. Daily caps and queues are a number's or a brand's.
OF_THE_SENDER = {21611, 30001, 30022, 30023, 30025, 30026, 30027, 63018}


@pytest.mark.parametrize("code", [code for code, cls in TABLE if cls is RateLimited])
def test_whom_a_rate_limit_stops(code: int) -> None:
    error = error_for(code)
    assert isinstance(error, RateLimited)
    assert error.scope == ("sender" if code in OF_THE_SENDER else "account")
    assert error.retry_after == (3600 if code in {30023, 30025, 30026, 30027, 63038} else None)


ODD = [
    (400, b'{"code": "21610"}', OptedOut, "21610"),
    (400, b'{"code":21610}', OptedOut, "21610"),
    (400, b'{"error":"bad"}', Permanent, None),
    (400, b'{"code": 99999}', Permanent, "99999"),
    (400, b'{"code": true}', Permanent, None),
    (400, b'{"code": [1]}', Permanent, None),
    (400, b'{"code": -5}', Permanent, None),
    (400, b'{"code": 1e400}', Permanent, None),
    (400, b"[]", Permanent, None),
    (400, b"not json", Permanent, None),
    (401, b"", AccountBlocked, None),
    (403, b"", Permanent, None),
    (404, b"", Permanent, None),
    (429, b"busy", RateLimited, None),
    (429, b'{"code": 63038}', RateLimited, "63038"),
    (500, b'{"code": 21211}', OutcomeUnknown, "21211"),
    (503, b"text", OutcomeUnknown, None),
    (307, b"", OutcomeUnknown, None),
]


@pytest.mark.parametrize(("status", "body", "cls", "code"), ODD)
def test_answers_that_are_not_as_documented(
    status: int, body: bytes, cls: type[ChannelError], code: str | None
) -> None:
    with pytest.raises(ChannelError) as caught:
        raise_for_reply(HttpReply(status, {}, body))
    assert type(caught.value) is cls
    assert caught.value.provider_code == code


def test_retry_after_is_kept() -> None:
    with pytest.raises(RateLimited) as caught:
        raise_for_reply(HttpReply(429, {"retry-after": "7"}, b'{"code": 20429}'))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("value", [None, True, 0, -1, 10**9, "", "abc", "1" * 5000, "٢١٦١٠", 1.5, [], {}])
def test_what_is_no_code(value: object) -> None:
    assert error_code(value) is None


DOCUMENTED = {
    "error_20003_auth": AccountBlocked,
    "error_20404_not_found": Misconfigured,
    "error_20429_too_many_requests": RateLimited,
    "error_20500_internal": OutcomeUnknown,
    "error_21211_invalid_to": InvalidRecipient,
    "error_21408_region_not_enabled": Misconfigured,
    "error_21606_from_not_sms_capable": Misconfigured,
    "error_21610_unsubscribed": OptedOut,
    "error_21611_queue_full": RateLimited,
    "error_21614_not_mobile": InvalidRecipient,
    "error_21617_body_too_long": ContentRejected,
    "error_503_text": OutcomeUnknown,
}


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_documented_refusals(name: str, context: Context, message: Make, cassette: Any) -> None:
    ctx = replace(context, callback_url=None)
    with cassette(name), pytest.raises(ChannelError) as caught:
        await sms.send(ctx, message(Text(body="x")))
    assert type(caught.value) is DOCUMENTED[name]
    assert "415" not in str(caught.value)


WHATSAPP = {
    "error_21655_content_sid_invalid": (Template(template_id="HX" + "0" * 32), "+14155550100", Misconfigured),
    "error_63007_channel_from_not_found": (Text(body="x"), "+15550009999", Misconfigured),
}


@pytest.mark.parametrize("name", WHATSAPP)
async def test_documented_whatsapp_refusals(name: str, context: Context, message: Make, cassette: Any) -> None:
    content, sender, cls = WHATSAPP[name]
    ctx = replace(context, callback_url=None)
    with cassette(name), pytest.raises(cls):
        await whatsapp.send(ctx, message(content, "+16505550143", sender=sender))


async def test_documented_service_without_numbers(
    context: Context, message: Make, cassette: Any, settings: TwilioSettings
) -> None:
    ctx = replace(context, callback_url=None)
    with cassette("error_21703_ms_no_numbers"), pytest.raises(Misconfigured):
        await sms.send(ctx, message(Text(body="x"), sender="MG393578e56aca76416da235415669597e"))


async def test_documented_variables_that_are_no_json(context: Context, settings: TwilioSettings, cassette: Any) -> None:
    """The channel writes JSON itself, so that only the client can be made to ask this."""
    fields = {"to": "whatsapp:+16505550143", "from_": "whatsapp:+14155550100", "content_variables": "not json"}
    client = TwilioClient(settings, context.http)
    with cassette("error_21656_content_variables_invalid"), pytest.raises(ContentRejected) as caught:
        await client.create_message({**fields, "content_sid": "HXf8aa5a783ac6df54b1d28473f2de4c75"})
    assert caught.value.provider_code == "21656"


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
async def test_every_error_costs_one_request(
    status: int, context: Context, message: Make, settings: TwilioSettings, serve: Any
) -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.Response(status=status)

    url = await serve(handle)
    with pytest.raises(ChannelError) as caught:
        await sms.send(
            replace(context, account=settings.model_copy(update={"base_url": url})), message(Text(body="secret text"))
        )
    assert seen == ["POST"]
    shown = f"{caught.value!r} {caught.value}"
    assert settings.auth_token.get_secret_value() not in shown
    assert "secret text" not in shown


def _listed(page: str) -> dict[int, str]:
    """Code → what Waypost says, as a page for operators has it."""
    text = (Path(__file__).parents[3] / "docs" / "channels" / page).read_text()
    section = text.partition("## Errors")[2].partition("## Simulator")[0]
    listed: dict[int, str] = {}
    for name, codes in re.findall(r"^\| `([A-Z_]+)` \|(.*)\|$", section, re.MULTILINE):
        for first, last in re.findall(r"\b(\d{5})(?:–(\d{5}))?\b", codes):
            listed |= dict.fromkeys(range(int(first), int(last or first) + 1), name)
    return listed


def test_the_operators_page_lists_the_same_table() -> None:
    # 429 is a status as well, and the page says "any other 429".
    assert _listed("sms_twilio.md") == {code: cls.code for code, (cls, _) in ERRORS.items() if code != 429}


def test_whatsapps_page_lists_every_code_of_its_own() -> None:
    listed, codes = _listed("whatsapp_twilio.md"), {code: cls.code for code, (cls, _) in ERRORS.items()}
    assert listed == {code: codes[code] for code in listed}
    rcs = {63035, 63036}
    assert {code for code in listed if code >= 63000} == {code for code in codes if code >= 63000} - rcs
