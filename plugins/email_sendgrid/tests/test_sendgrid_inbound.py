"""Inbound Parse: documented mails, charsets, attachments, raw mode, and mails that nobody should write."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waypost.plugin import Address, Email, InboundMessage, UnknownEvent, WebhookRequest
from waypost_email_sendgrid import form as forms
from waypost_email_sendgrid.channel import email
from waypost_email_sendgrid.form import decode
from waypost_email_sendgrid.mime import UnreadableMailError, read_mail

ADA = Address("email", "ada.okafor@example.com")
BOUNDARY = "xYzZY"


def form(fields: dict[str, str | bytes], files: list[tuple[bytes, bytes]] = ()) -> WebhookRequest:  # type: ignore[assignment]
    parts = []
    for name, value in fields.items():
        data = value.encode() if isinstance(value, str) else value
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data + b"\r\n")
    for headers, data in files:
        parts.append(f"--{BOUNDARY}\r\n".encode() + headers + b"\r\n\r\n" + data + b"\r\n")
    return WebhookRequest(
        method="POST",
        url="https://x",
        headers=(("content-type", f"multipart/form-data; boundary={BOUNDARY}"),),
        body=b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(),
    )


BASIC = {"from": "Ada <ada.okafor@example.com>", "to": "in@shop.example.test", "subject": "s", "text": "t"}


def one(request: WebhookRequest) -> InboundMessage:
    (event,) = email.parse_event(request)
    assert isinstance(event, InboundMessage)
    assert isinstance(event.content, Email)
    assert email.parse_event(request) == [event]
    json.dumps(dict(event.raw))
    return event


@pytest.mark.parametrize("name", ["inbound_parse_reply.multipart", "inbound_parse_unsigned.multipart"])
def test_a_reply(name, delivery) -> None:
    event = one(delivery(name))
    assert event.sender == (ADA,)
    assert event.sender_name == "Ada Okafor"
    assert event.recipient == Address("email", "support@in.shop.example.test")
    assert event.provider_id == "<CAEx+1@mail.example.com>"
    assert event.reply_to == "<gw-01JC9Q2V8N@shop.example.test>"
    assert event.occurred_at == datetime(2026, 11, 10, 9, 20, tzinfo=UTC)
    content = event.content
    assert content.subject == "Re: Your order"
    assert content.text.splitlines()[0] == "When does it arrive?"
    assert content.html.startswith('<div dir="ltr">When does it arrive?</div>')
    assert content.headers["in-reply-to"] == "<gw-01JC9Q2V8N@shop.example.test>"
    assert content.attachments == ()
    assert event.raw["fields"]["SPF"] == "pass"
    assert event.raw["fields"]["spam_report"].endswith("…")


def test_the_two_reply_fixtures_are_one_mail(delivery) -> None:
    signed, unsigned = delivery("inbound_parse_reply.multipart"), delivery("inbound_parse_unsigned.multipart")
    assert one(signed).event_id == one(unsigned).event_id


def test_attachments_come_whole(delivery) -> None:
    photo, invoice = one(delivery("inbound_parse_attachments_inline_image.multipart")).content.attachments
    assert (photo.filename, photo.mime_type, photo.content_id) == ("photo.png", "image/png", "ii_1562e2169c132d83")
    assert base64.b64decode(photo.data).startswith(b"\x89PNG\r\n\x1a\n")
    assert (invoice.filename, invoice.mime_type, invoice.content_id) == ("invoice.pdf", "application/pdf", None)
    assert base64.b64decode(invoice.data).startswith(b"%PDF-1.4\n")
    assert base64.b64decode(invoice.data).endswith(b"%%EOF\n")


def test_raw_mode(delivery) -> None:
    event = one(delivery("inbound_parse_raw_mime.multipart"))
    assert event.sender == (Address("email", "test@example.com"),)
    assert event.recipient == Address("email", "inbox@in.shop.example.test")
    assert event.provider_id == "<raw-1@mail.example.com>"
    assert event.content.subject == "Raw mode"
    assert event.content.text.strip() == "Hello raw!"
    assert event.content.html.strip() == "<strong>Hello ü raw!</strong>"
    assert event.occurred_at == datetime(2026, 11, 10, 9, 20, tzinfo=UTC)
    assert "email" not in event.raw["fields"]


def test_a_reply_to_our_own_mail_names_its_sendgrid_id() -> None:
    headers = "In-Reply-To: <14c5d75ce93mQ7wUfZx1kA@geopod-ismtpd-12>\nMessage-ID: <1@example.com>"
    assert one(form({**BASIC, "headers": headers})).reply_to == "14c5d75ce93mQ7wUfZx1kA"
    headers = "References: <0@example.com> <LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\n <2@example.com>"
    assert one(form({**BASIC, "headers": headers})).reply_to == "LRzXl_NHStOGhQ4kofSm_A"
    assert one(form({**BASIC, "headers": "References: <0@example.com> <2@example.com>"})).reply_to == "<2@example.com>"
    assert one(form(BASIC)).reply_to is None


def test_each_field_has_its_own_charset() -> None:
    fields = {
        **BASIC,
        "text": "Grüße aus Köln".encode("iso-8859-1"),
        "html": "日本語".encode("iso-2022-jp"),
        # Declared otherwise, and UTF-8 all the same.
        "subject": "Grüße".encode(),
        "from": "Ådá <ada.okafor@example.com>".encode(),
        "charsets": json.dumps(
            {"text": "iso-8859-1", "html": "ISO-2022-JP", "subject": "iso-8859-1", "from": "windows-1252"}
        ),
    }
    event = one(form(fields))
    assert event.content.text == "Grüße aus Köln"
    assert event.content.html == "日本語"
    assert event.content.subject == "Grüße"
    assert event.sender_name == "Ådá"


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("iso-2022-jp", "注文の件"),
        ("ISO-2022-JP-2", "注文の件"),
        ("iso-2022-kr", "주문 문의"),
        ("hz-gb-2312", "订单问题"),
        ("utf-7", "Größe"),
        ("iso-2022-jp", "Order 5 ~{+ 6"),
    ],
)
def test_charsets_of_seven_bits(charset, words) -> None:
    declared = {"charsets": json.dumps({"subject": charset, "from": charset})}
    sender = words.replace("ö", "o").replace("ß", "s")
    fields = {"subject": words.encode(charset), "from": f"{sender} <ada.okafor@example.com>".encode(charset)}
    event = one(form({**BASIC, **declared, **fields}))
    assert event.content.subject == words
    assert (event.sender, event.sender_name) == ((ADA,), sender)


@pytest.mark.parametrize(
    ("declared", "written", "words"),
    [
        ("gb2312", "gbk", "朱镕基"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("Shift_JIS", "cp932", "①株式会社"),
        ("iso-8859-1", "cp1252", "“Grüße” – 5 €"),
        ("big5", "big5hkscs", "嘅喺啲"),
        ("latin5", "cp1254", "“İyi” günler"),
        ("tis-620", "cp874", "“สวัสดี”"),
    ],
)
def test_what_is_written_beyond_the_charset_declared_is_read(declared: str, written: str, words: str) -> None:
    fields = {**BASIC, "text": words.encode(written), "charsets": json.dumps({"text": declared})}
    assert one(form(fields)).content.text == words


@pytest.mark.parametrize("charset", ["utf-7", "iso-2022-jp", "hz"])
def test_what_is_utf8_though_declared_in_seven_bits_stays_so(charset) -> None:
    declared = {"charsets": json.dumps({"subject": charset, "from": charset})}
    event = one(form({**BASIC, **declared, "subject": "Größe", "from": "Åda <ada+tag@example.com>"}))
    assert (event.content.subject, event.sender_name) == ("Größe", "Åda")
    event = one(form({**BASIC, **declared, "subject": "1 + 1 ~", "from": "Ada <ada+shopping@example.com>"}))
    assert (event.content.subject, event.sender[0].value) == ("1 + 1 ~", "ada+shopping@example.com")


@pytest.mark.parametrize(
    "charset",
    ["x-unknown", "hex", "base64", "rot13", "idna", "punycode", "undefined", "unicode_escape", "", "a\x00b", 7],
)
def test_an_unusable_charset_costs_no_mail(charset) -> None:
    event = one(form({**BASIC, "text": b"Gr\xfc\xdfe", "charsets": json.dumps({"text": charset})}))
    assert event.content.text.startswith("Gr")


def test_text_that_no_database_takes_is_mended() -> None:
    assert decode(b"a\x00b", "utf-8") == "a\ufffdb"
    assert decode(b"\xff", "utf-8") == "\ufffd"
    assert decode(b"+2AA-", "utf-7").isprintable()


def test_the_envelope_says_whom_it_reached() -> None:
    envelope = json.dumps({"to": ["not an address", "hidden@in.shop.example.test"], "from": "bounce@list.example.com"})
    event = one(form({**BASIC, "envelope": envelope}))
    assert event.recipient.value == "hidden@in.shop.example.test"
    assert event.sender == (ADA,)


@pytest.mark.parametrize("stray", [b"\xfc", rb"\ud800", b"\x01"])
def test_one_strange_address_costs_the_envelope_no_other(stray: bytes) -> None:
    """A mail to a hidden copy has nothing but the envelope to find its gateway's address by."""
    envelope = b'{"to":["hidden@in.shop.example.test","m' + stray + b'ller@in.shop.example.test"],"from":"a@b.example"}'
    assert one(form({**BASIC, "envelope": envelope})).recipient.value == "hidden@in.shop.example.test"


def test_whom_else_it_reached_is_not_lost() -> None:
    reached = ["sales@in.example", "support@in.example", "sales@in.example", "no address"]
    event = one(form({**BASIC, "envelope": json.dumps({"to": reached, "from": "ada@example.com"})}))
    assert event.recipient.value == "sales@in.example"
    assert event.content.headers["envelope-to"] == "sales@in.example, support@in.example"
    alone = one(
        form({**BASIC, "headers": "Envelope-To: forged@example.com", "envelope": '{"to":["sales@in.example"]}'})
    )
    assert "envelope-to" not in alone.content.headers


def test_copies_keep_their_names_whatever_those_hold() -> None:
    copies = '"Doe, Jane" <jane@example.com>, Bo <bo@example.com>, ada@example.com, Åda Ò. <a@example.com>, nobody'
    assert one(form({**BASIC, "cc": copies})).content.cc == (
        '"Doe, Jane" <jane@example.com>',
        "Bo <bo@example.com>",
        "ada@example.com",
        '"Åda Ò." <a@example.com>',
    )


def test_a_name_that_looks_like_an_address_is_a_name() -> None:
    """So many mail programs write it without quotes; the address is the one in angle brackets."""
    event = one(
        form({**BASIC, "from": "ceo@bank.example <ada.okafor@example.com>", "cc": "a@b.example<bo@b.example>, c@d.org"})
    )
    assert (event.sender, event.sender_name) == ((ADA,), "ceo@bank.example")
    assert event.content.cc == ('"a@b.example" <bo@b.example>', "c@d.org")


@pytest.mark.parametrize("wrong", ["Bo <", "bo@example.com jo@example.org", "<>", "Bo (Jo", '"Bo'])
def test_a_mailbox_written_wrongly_costs_no_mail_and_nobody_before_it(wrong) -> None:
    event = one(form({**BASIC, "cc": f"ada@example.com, {wrong}, zoe@example.com"}))
    assert event.content.cc[0] == "ada@example.com"
    if wrong.count("(") + wrong.count('"') == 0:
        assert event.content.cc[-1] == "zoe@example.com"


@pytest.mark.parametrize("name", ["from", "to", "cc"])
def test_comments_without_end_cost_no_mail(name) -> None:
    sent = {**BASIC, "headers": "From: ada@example.com\nTo: in@example.com", name: "(" * 30_000 + " x@example.com"}
    assert one(form(sent)).content.text == "t"


def test_without_a_from_the_envelope_s_sender_is_it() -> None:
    event = one(form({"to": "in@shop.example.test", "envelope": '{"to":["in@a.example"],"from":"bo@example.org"}'}))
    assert event.sender[0].value == "bo@example.org"
    assert event.content.text is None


def test_an_address_that_we_would_not_write_to_has_written_to_us() -> None:
    assert one(form({**BASIC, "from": "root@localhost", "to": "me@intranet"})).sender[0].value == "root@localhost"


@pytest.mark.parametrize(
    "fields",
    [{}, {"from": "x"}, {**BASIC, "from": "nobody"}, {**BASIC, "to": ""}, {"envelope": "7"}, {"envelope": "[]"}],
)
def test_a_mail_of_nobody_to_nobody_is_kept_as_unknown(fields) -> None:
    (event,) = email.parse_event(form(fields))
    assert isinstance(event, UnknownEvent)
    assert event.event_id == email.parse_event(form(fields))[0].event_id


def test_the_same_mail_is_known_by_its_message_id_and_envelope() -> None:
    headers = {"headers": "Message-ID: <1@example.com>"}
    first = one(form({**BASIC, **headers, "spam_score": "0.1"}))
    assert first.event_id == one(form({**BASIC, **headers, "spam_score": "0.2"})).event_id
    elsewhere = form({**BASIC, **headers, "envelope": '{"to":["other@in.example"],"from":"ada.okafor@example.com"}'})
    assert first.event_id != one(elsewhere).event_id
    nameless = one(form(BASIC))
    assert nameless.event_id != one(form({**BASIC, "text": "other"})).event_id


def test_file_names_lead_nowhere() -> None:
    names = [
        (b'filename="../../etc/passwd"', "passwd"),
        (b'filename="C:\\\\temp\\\\x.exe"', "x.exe"),
        (b'filename=".."', "attachment3"),
        (b'filename=""', "attachment4"),
        (b'filename="\xe9t\xe9.txt"', "\ufffdt\ufffd.txt"),
        (b"filename*=UTF-8''%C3%A9t%C3%A9.txt", "été.txt"),
        (b'filename="' + b"n" * 400 + b'"', "n" * 255),
        (b'filename="=?UTF-8?B?w6l0w6kudHh0?="', "été.txt"),
        (b'filename="=?UTF-8?Q?..=2F..=2Fetc=2Fshadow?="', "shadow"),
    ]
    files = [
        (b'Content-Disposition: form-data; name="attachment%d"; %s' % (number, name), b"data")
        for number, (name, _) in enumerate(names, start=1)
    ]
    event = one(form(BASIC, files))
    assert [attachment.filename for attachment in event.content.attachments] == [expected for _, expected in names]


@pytest.mark.parametrize("info", [{"filename": "Prüfbericht.pdf", "name": "x"}, {"name": "Prüfbericht.pdf"}])
def test_attachment_info_knows_a_file_s_name_better_than_the_form(info: dict[str, str]) -> None:
    head = b'Content-Disposition: form-data; name="attachment1"; filename="Pr??fbericht.pdf"'
    event = one(form({**BASIC, "attachment-info": json.dumps({"attachment1": info})}, [(head, b"data")]))
    assert [file.filename for file in event.content.attachments] == ["Prüfbericht.pdf"]


@pytest.mark.parametrize("info", ["x", [], {"attachment1": "x"}, {"attachment1": {"filename": 7}}])
def test_a_strange_attachment_info_costs_no_name(info: object) -> None:
    head = b'Content-Disposition: form-data; name="attachment1"; filename="f.pdf"'
    event = one(form({**BASIC, "attachment-info": json.dumps(info)}, [(head, b"data")]))
    assert [file.filename for file in event.content.attachments] == ["f.pdf"]


def test_a_file_without_a_name_is_a_file() -> None:
    files = [
        (b'Content-Disposition: form-data; name="attachment1"\r\nContent-Type: text/calendar; a=b', b"\xffBEGIN"),
        (b'Content-Disposition: form-data; name="attachment2"', b"data"),
    ]
    info = {"attachment1": {"type": "text/calendar", "content-id": "invitation"}, "attachment2": {"name": "note.bin"}}
    event = one(form({**BASIC, "attachments": "2", "attachment-info": json.dumps(info)}, files))
    invitation, note = event.content.attachments
    assert (invitation.filename, invitation.mime_type) == ("attachment1", "text/calendar")
    assert (invitation.content_id, base64.b64decode(invitation.data)) == ("invitation", b"\xffBEGIN")
    assert (note.filename, note.mime_type) == ("note.bin", "application/octet-stream")
    assert [file["name"] for file in event.raw["files"]] == ["attachment1", "attachment2"]
    assert not event.raw["fields"].keys() & {"attachment1", "attachment2"}


def test_more_files_than_a_message_holds_are_named_in_raw() -> None:
    files = [
        (b'Content-Disposition: form-data; name="attachment%d"; filename="f"' % number, b"" if number == 1 else b"x")
        for number in range(1, 61)
    ]
    event = one(form(BASIC, files))
    assert len(event.content.attachments) == 50
    assert len(event.raw["files"]) == 60


LONG = "".join(chr(ord("a") + number % 26) for number in range(30_000))


def test_what_is_longer_than_a_message_holds_is_cut_and_costs_no_mail() -> None:
    """Mail has no such limits; what is cut is whole in the raw event."""
    named = f"{LONG[:1500]} <ada.okafor@example.com>"
    headers = f"Message-ID: <1@x>\nReply-To: {LONG[:3000]}\nReferences: <2@x> {LONG[:3000]}\n"
    copies = ", ".join(f"{'n' * 400} <{number}@example.com>" for number in range(30))
    head = (
        f'Content-Disposition: form-data; name="attachment1"; filename="{LONG[:400]}"\r\n'
        f"Content-Type: text/{LONG[:400]}"
    ).encode()
    ids = json.dumps({LONG[:400]: "attachment1"})
    fields = {**BASIC, "from": named, "subject": LONG[:2000], "headers": headers, "cc": copies, "content-ids": ids}
    event = one(form(fields, [(head, b"data")]))
    content = event.content
    assert (content.subject, content.from_name, event.sender_name) == (LONG[:998], LONG[:255], LONG[:255])
    assert content.reply_to == LONG[:320]
    assert content.headers == {
        "message-id": "<1@x>", "references": f"<2@x> {LONG}"[:2000], "reply-to": LONG[:2000],
    }  # fmt: skip
    assert content.cc == tuple(f"{number}@example.com" for number in range(30))
    (attached,) = content.attachments
    assert (attached.filename, attached.mime_type) == (LONG[:255], f"text/{LONG}"[:255])
    assert attached.content_id == LONG[:255]
    assert event.raw["fields"] | {"subject": LONG[:2000], "from": named, "cc": copies} == event.raw["fields"]


def test_a_long_name_costs_nobody_the_address() -> None:
    fields = {**BASIC, "headers": f"Reply-To: {'n' * 400} <ada@example.com>", "cc": f"{'n' * 400} <bo@example.com>"}
    content = one(form(fields)).content
    assert (content.reply_to, content.cc) == ("ada@example.com", ("bo@example.com",))
    many = ", ".join(f"{number}@example.com" for number in range(100))
    assert one(form({**BASIC, "headers": f"Reply-To: {many}"})).content.reply_to == "0@example.com"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("=?utf-8?B?w4VkYSBPa2Fmb3I=?=", "Åda Okafor"),
        ("=?UTF-8*de?q?Gr=C3=BC=C3=9Fe_?= =?utf-8?Q?=C3=BC?=", "Grüße ü"),
        ("=?utf-8?Q?a=C3?=\n =?utf-8?Q?=BC?= Bo", "aü Bo"),
        ("Ådå", "Ådå"),
        ("=?iso-2022-jp?B?GyRCQ21KOBsoQg==?=", "注文"),
        ("=?x-none?Q?=C3=BC?=", "ü"),
        ("=?utf-8?B?w?=", "=?utf-8?B?w?="),
        ("=?utf-8?B?RG9lLCBKYW5lIDxibEBleGFtcGxlLmNvbT4=?=", '"Doe, Jane <bl@example.com>"'),
    ],
)
def test_names_in_headers_are_read(written: str, read: str) -> None:
    """SendGrid decodes its own fields, but hands over `headers`, and all of a raw mail, as they came."""
    headers = f"From: {written} <ada@example.com>\nReply-To: {written} <re@example.com>\nSubject: {written}\n"
    fields = {"to": "in@shop.example.test", "text": "t"}
    for event in (
        one(form({**fields, "headers": headers})),
        one(form({"to": "in@shop.example.test", "email": f"{headers}\nt"})),
    ):
        assert event.content.reply_to == f"{read} <re@example.com>"
        assert event.content.subject == event.sender_name == read.strip('"')
        assert event.sender == (Address("email", "ada@example.com"),)


def test_words_that_sendgrid_left_encoded_are_read() -> None:
    fields = {
        "from": "=?gb2312?B?1uzpRrv5?= <ada.okafor@example.com>",
        "cc": "=?gb2312?B?1uzpRrv5?= <bo@example.com>",
        "subject": "=?gb2312?B?1uzpRrv5?=",
    }
    event = one(form({**BASIC, **fields}))
    assert (event.sender_name, event.content.subject) == ("朱镕基", "朱镕基")
    assert event.content.cc == ("朱镕基 <bo@example.com>",)


def test_more_copies_than_a_message_names_cost_no_mail() -> None:
    everybody = ", ".join(f"{number}@x.example" for number in range(2000))
    assert one(form({**BASIC, "cc": everybody})).content.cc == tuple(f"{number}@x.example" for number in range(100))
    reached = [f"{number}@{'x' * 50}.example" for number in range(2000)]
    event = one(form({**BASIC, "envelope": json.dumps({"to": reached, "from": "ada.okafor@example.com"})}))
    assert event.content.headers["envelope-to"] == ", ".join(reached)[:10_000]
    (nobody,) = email.parse_event(form({**BASIC, "to": "x" * 400 + "@example.com"}))
    assert isinstance(nobody, UnknownEvent)


def test_an_automatic_reply_can_be_told() -> None:
    event = one(form({**BASIC, "headers": "Auto-Submitted: auto-replied\nPrecedence: bulk\nX-Secret: 1"}))
    assert event.content.headers == {"auto-submitted": "auto-replied", "precedence": "bulk"}


def test_raw_mail_with_files_and_a_mail_inside() -> None:
    whole = (
        b"From: ada.okafor@example.com\r\nTo: in@shop.example.test\r\nMessage-ID: <m@example.com>\r\n"
        b'Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Gr=FC=DFe\r\n"
        b"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=notes.txt\r\n\r\nnotes\r\n"
        b"--b\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0=\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner text\r\n"
        b"--b--\r\n"
    )
    event = one(form({**BASIC, "email": whole}))
    assert event.content.text == "Grüße"
    assert event.provider_id == "<m@example.com>"
    notes, logo, inner = event.content.attachments
    assert (notes.filename, base64.b64decode(notes.data)) == ("notes.txt", b"notes")
    assert (logo.content_id, base64.b64decode(logo.data)) == ("logo", b"\x89PNG\r")
    assert b"inner text" in base64.b64decode(inner.data)
    assert inner.mime_type == "message/rfc822"


def parts_of(*parts: bytes) -> Email:
    """What is read of a raw mail of these parts."""
    whole = b"From: ada.okafor@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    content = one(form({**BASIC, "email": whole + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--"}))
    assert isinstance(content.content, Email)
    return content.content


def test_a_text_file_shown_within_a_raw_mail_is_a_file() -> None:
    named = b'Content-Type: text/plain; name="notes.txt"'
    inline = named + b'\r\nContent-Disposition: inline; filename="notes.txt"\r\n\r\nnotes'
    content = parts_of(b"Content-Type: text/html\r\n\r\n<b>hi</b>", inline)
    assert (content.text, content.html) == (None, "<b>hi</b>")
    (notes,) = content.attachments
    assert (notes.filename, base64.b64decode(notes.data)) == ("notes.txt", b"notes")
    body = parts_of(named + b"\r\n\r\nhello", inline)
    assert (body.text, [file.filename for file in body.attachments]) == ("hello", ["notes.txt"])


def test_a_bounce_in_a_raw_mail_says_whose_mail_it_was() -> None:
    status = b"Reporting-MTA: dns; mx.example.com\r\n\r\nFinal-Recipient: rfc822; bo@example.com\r\nStatus: 5.1.1\r\n"
    (report,) = parts_of(b"Content-Type: message/delivery-status\r\n\r\n" + status).attachments
    written = base64.b64decode(report.data)
    recipient = b"\n\nFinal-Recipient: rfc822; bo@example.com\nStatus: 5.1.1"
    assert written.index(b"Reporting-MTA") < written.index(recipient)


def test_a_mail_nested_without_end_is_unknown() -> None:
    depth = 2000
    opened = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\r\n\r\n--b{n}\r\n' for n in range(depth))
    whole = b"From: ada@example.com\r\nTo: in@shop.example.test\r\n" + opened.encode() + b"\r\nx"
    with pytest.raises(UnreadableMailError):
        read_mail(whole)
    (event,) = email.parse_event(form({**BASIC, "email": whole}))
    assert isinstance(event, UnknownEvent)


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300,
     "multipart/form-data; boundary=other", "Multipart/Form-Data; boundary=xYzZY"],
)  # fmt: skip
def test_a_broken_form_is_unknown(kind: str, delivery) -> None:
    request = delivery("inbound_parse_reply.multipart")
    cut = dataclasses.replace(request, headers=(("content-type", kind),), body=request.body[:500])
    (event,) = email.parse_event(cut)
    assert isinstance(event, UnknownEvent)
    assert event.raw == {"bytes": 500}


@pytest.mark.parametrize("piece", [3, 7, 20, 100, 1000])
@pytest.mark.parametrize(
    "name",
    ["inbound_parse_reply.multipart", "inbound_parse_attachments_inline_image.multipart",
     "inbound_parse_raw_mime.multipart", "inbound_parse_unsigned.multipart"],
)  # fmt: skip
def test_a_form_is_the_same_in_whatever_pieces_it_is_read(name, piece, delivery, monkeypatch) -> None:
    request = delivery(name)
    whole = email.parse_event(request)
    monkeypatch.setattr(forms, "PIECE", piece)
    assert email.parse_event(request) == whole


@pytest.mark.parametrize("content", [b"\r\n", b"x" * 70 + b"\r\n", b"\r\n--xYz\r\n", b"x--xYzZY", b"\x00\xff"])
def test_the_largest_mail_holds_nobody_up(content: bytes) -> None:
    """Three blocks of a quarter of a second in an hour, and a plugin is disabled: for large mails that must not be."""
    data = content * (20 * 1024 * 1024 // len(content))
    headers = b'Content-Disposition: form-data; name="attachment1"; filename="large.bin"'
    request = form(BASIC, [(headers, data)])
    (mail,) = email.parse_event(request)
    began = time.process_time()
    email.parse_event(request)
    assert time.process_time() - began < 0.5  # some 0.1 s; a test's own overhead beside it
    assert isinstance(mail, InboundMessage)
    assert base64.b64decode(mail.content.attachments[0].data) == data


def test_a_form_of_countless_parts_is_unknown() -> None:
    (event,) = email.parse_event(form({f"f{number}": "" for number in range(1200)}))
    assert isinstance(event, UnknownEvent)


NAMES = ["headers", "from", "to", "cc", "subject", "text", "html", "envelope", "charsets", "attachment-info",
         "content-ids", "email"]  # fmt: skip
CHARSETS = st.sampled_from(["utf-8", "utf-16", "utf-7", "iso-2022-kr", "hz", "cp037", "shift_jis", "x", "zlib", ""])
FUZZ = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FUZZ
@given(
    fields=st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=80), max_size=8),
    charset=CHARSETS,
    filename=st.binary(max_size=20).filter(lambda name: b"\r" not in name and b"\n" not in name),
)
def test_no_form_makes_it_raise(fields, charset, filename) -> None:
    declared = {"charsets": json.dumps(dict.fromkeys(NAMES, charset))}
    file = (b'Content-Disposition: form-data; name="attachment1"; filename="' + filename + b'"', b"x")
    for given_fields in (fields, {**BASIC, **declared, **fields}):
        (event,) = email.parse_event(form(given_fields, [file]))
        json.dumps(dict(event.raw)).encode()


@FUZZ
@given(body=st.binary(max_size=300))
def test_no_body_makes_it_raise(body: bytes) -> None:
    for prefix in (b"", b"--xYzZY\r\n", b'--xYzZY\r\nContent-Disposition: form-data; name="email"\r\n\r\n'):
        email.parse_event(dataclasses.replace(form({}), body=prefix + body + b"\r\n--xYzZY--\r\n"))


LINES = st.sampled_from(
    [b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: text/plain; charset=\xff", b"--b", b"--b--", b"",
     b"Content-Type: message/rfc822", b"Content-Type: text/html; charset=*''", b"Subject: =?utf-8?b?x?=", b"\xff\xfe",
     b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: x-uuencode", b"begin 644 f", b"!!!!",
     b"Content-Disposition: attachment; filename*0*=utf-16''%ff", b"Content-ID: =?x?q?=ff?=", b"From: \x00", b":",
     b"Content-Type: message/delivery-status", b"Content-Type: message/external-body", b"Message-ID: <a@b>",
     b"Content-Transfer-Encoding: \xff", b"Content-Type: text/plain; charset*=x'y'%zz", b"Date: 99 x", b" folded"]
)  # fmt: skip


@FUZZ
@given(lines=st.lists(LINES, max_size=25))
def test_no_mail_makes_it_raise(lines: list[bytes]) -> None:
    (event,) = email.parse_event(form({**BASIC, "email": b"\r\n".join(lines)}))
    assert isinstance(event, InboundMessage | UnknownEvent)
