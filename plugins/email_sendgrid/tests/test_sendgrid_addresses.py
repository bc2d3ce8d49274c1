"""Addresses, header injection and the rule for headers."""

from __future__ import annotations

import itertools

import pytest
from waypost.plugin import ContentRejected, Email, InvalidRecipient, Misconfigured
from waypost_email_sendgrid.address import comparable, fingerprint, parse_address, parse_mailbox
from waypost_email_sendgrid.channel import email
from waypost_email_sendgrid.header import allowed, checked_headers

CONTROLS = ["\r", "\n", "\r\n", "\x00", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\t"]


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  ada@example.com ", "ada@example.com"),
        ("Ada.Okafor+tag@EXAMPLE.com", "Ada.Okafor+tag@example.com"),
        ("Ada@BÜCHER.example", "Ada@bücher.example"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("用户@例子.广告", "用户@例子.广告"),
        ("e\u0301va@example.com", "éva@example.com"),
    ],
)
def test_an_address_gets_its_normal_form(written: str, normal: str) -> None:
    address = email.parse_address(written)
    assert (address.kind, address.value) == ("email", normal)
    assert email.parse_address(address.value) == address


@pytest.mark.parametrize(
    "value",
    [
        # What a web page made of an address in the token API's document.
        "[email protected]",
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@localhost",
        "ada@@example.com",
        "ada@example.com, bo@example.com",
        "Ada <ada@example.com>",
        "ada.@example.com",
        "ada@[127.0.0.1]",
        "a" * 250 + "@example.com",
        *(f"ada@example.com{control}Bcc: eve@example.org" for control in CONTROLS),
        *(f"a{control}da@example.com" for control in CONTROLS),
        *(f"ada@example.com{control}" for control in CONTROLS),
    ],
)
def test_what_is_no_address_is_refused_without_being_quoted(value: str) -> None:
    with pytest.raises(InvalidRecipient) as refused:
        email.parse_address(value)
    assert refused.value.detail == "This is not an email address."


def test_a_domain_goes_out_in_ascii() -> None:
    assert parse_mailbox("Ada <ada@bücher.example>").address == "ada@xn--bcher-kva.example"
    # A local part beyond ASCII has no other form; its domain has, and that is the one SendGrid takes.
    assert parse_mailbox("имя@Пример.example").address == "имя@xn--e1afmkfd.example"
    assert comparable("имя@xn--e1afmkfd.example") == comparable("ИМЯ@пример.example")
    assert parse_mailbox("Ada <ada@bücher.example>").name == "Ada"


def test_a_fingerprint_ignores_spelling_and_differs_by_message() -> None:
    one = fingerprint("ref1", "Ada@bücher.example")
    assert one == fingerprint("ref1", "ada@XN--BCHER-KVA.example")
    assert one != fingerprint("ref2", "Ada@bücher.example")
    assert one != fingerprint("ref1", "bo@bücher.example")
    assert "ada" not in one


PLACES = {
    "subject": lambda bad: Email(subject=bad, text="x"),
    "sender's name": lambda bad: Email(subject="s", text="x", from_name=bad),
    "reply-to": lambda bad: Email(subject="s", text="x", reply_to=f"Support{bad} <support@example.com>"),
    "reply-to address": lambda bad: Email(subject="s", text="x", reply_to=f"support@example.com{bad}"),
    "cc": lambda bad: Email(subject="s", text="x", cc=(f"cc@example.com{bad}",)),
    "bcc": lambda bad: Email(subject="s", text="x", bcc=(f"bcc@example.com{bad}",)),
    "header value": lambda bad: Email(subject="s", text="x", headers={"X-Order": bad}),
    "header name": lambda bad: Email(subject="s", text="x", headers={f"X-Order{bad}": "1"}),
    "category": lambda bad: Email(subject="s", text="x", categories=(bad,)),
    "template id": lambda bad: Email(template_id=f"d-1{bad}"),
    "file name": lambda bad: Email(
        subject="s", text="x", attachments=({"filename": bad, "data": "eA==", "mime_type": "text/plain"},)
    ),
    "content id": lambda bad: Email(
        subject="s", text="x", attachments=({"filename": "f", "data": "eA==", "content_id": bad},)
    ),
    "mime type": lambda bad: Email(
        subject="s", text="x", attachments=({"filename": "f", "data": "eA==", "mime_type": f"text/plain{bad}"},)
    ),
}


@pytest.mark.parametrize(("place", "control"), list(itertools.product(PLACES, CONTROLS)))
def test_nothing_can_start_a_header_line(place, control, context, message) -> None:
    secret = f"hello{control}Bcc: eve@example.org"
    with pytest.raises(ContentRejected) as refused:
        email.price(context(), message(PLACES[place](secret)))
    assert "eve" not in refused.value.detail
    assert "hello" not in refused.value.detail


@pytest.mark.parametrize("control", CONTROLS)
def test_nor_can_the_sender_or_an_option(control, context, message) -> None:
    content = Email(subject="s", text="x")
    with pytest.raises(Misconfigured):
        email.price(context(), message(content, sender=f"shop@example.com{control}Bcc: eve@example.org"))
    for options in ({"to_name": f"Ada{control}"}, {"custom_args": {"order": f"1{control}"}}):
        with pytest.raises(ContentRejected):
            email.price(context(), message(content, options=options))


@pytest.mark.parametrize(
    "name",
    [
        "x-sg-id", "X-SG-EID", "received", "dkim-signature", "Content-Type", "Content-Transfer-Encoding", "To", "FROM",
        "Subject", "Reply-To", "CC", "BCC", "Bcc", "Sender", "Return-Path", "MIME-Version", "Date", "Resent-To",
        "ARC-Seal", "Authentication-Results", "X-SMTPAPI", "", "X Order", "X-Order:", "Überschrift",
    ],
)  # fmt: skip
def test_headers_of_the_mail_system_are_refused(name: str, context, message) -> None:
    with pytest.raises(ContentRejected):
        email.price(context(), message(Email(subject="s", text="x", headers={name: "1"})))


def test_a_header_set_twice_is_refused() -> None:
    with pytest.raises(ContentRejected):
        checked_headers({"X-Order": "1", "x-order": "2"})


@pytest.mark.parametrize(
    "name", ["X-Order", "List-Unsubscribe", "List-Unsubscribe-Post", "Message-ID", "In-Reply-To", "References"]
)
def test_headers_of_the_application_are_allowed(name: str) -> None:
    assert allowed(name)
    assert checked_headers({name: "<1@example.com>"}) == {name: "<1@example.com>"}


def test_a_header_beyond_ascii_is_written_as_encoded_words() -> None:
    written = checked_headers({"X-Greeting": "Grüße " * 20})["X-Greeting"]
    assert written.startswith("=?utf-8?")
    assert written.isascii()
    assert "\n" not in written


def test_an_address_shows_in_no_repr() -> None:
    assert "ada" not in repr(parse_address("ada@example.com")) + repr(parse_mailbox("Ada <ada@example.com>"))
