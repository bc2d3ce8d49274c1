"""The log: one JSON object a line, and never content, addresses or secrets."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import structlog
from pydantic import SecretStr
from waypost import log
from waypost.plugin import Address, Text


@pytest.fixture
def stream() -> io.BytesIO:
    stream = io.BytesIO()
    log.configure("info", stream)
    return stream


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_bound_ids(stream: io.BytesIO) -> None:
    with structlog.contextvars.bound_contextvars(request="req-1"):
        log.logger(org="org_1").info("messages.accepted", messages=[["a", 1]])
    log.logger().debug("not shown")
    (line,) = lines(stream)
    assert {"event": "messages.accepted", "org": "org_1", "request": "req-1", "level": "info"}.items() <= line.items()
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("name", sorted(log.FORBIDDEN))
def test_forbidden_fields_are_redacted(stream: io.BytesIO, name: str) -> None:
    log.logger().info("x", **{name: "canary"})
    assert "canary" not in stream.getvalue().decode()
    assert lines(stream)[0][name] == "[redacted]"


def test_objects_are_shown_by_their_type(stream: io.BytesIO) -> None:
    log.logger().info(
        "x", a=Address("e164", "canary"), b=Text(body="canary"), c=SecretStr("canary"), d=ValueError("canary")
    )
    assert "canary" not in stream.getvalue().decode()


def test_an_exception_shows_neither_its_text_nor_local_variables(stream: io.BytesIO) -> None:
    def fail() -> None:
        body = "canary"
        try:
            raise KeyError(body)
        except KeyError as error:
            raise ValueError(f"{body} is wrong") from error

    try:
        fail()
    except ValueError:
        log.logger().exception("fault")
    assert "canary" not in stream.getvalue().decode()
    assert "ValueError" in stream.getvalue().decode()


def test_a_line_cannot_be_forged(stream: io.BytesIO) -> None:
    log.logger().info("x", problem='a"}\n{"event": "forged"}\r\u2028')
    assert len(stream.getvalue().splitlines()) == 1
    assert len(lines(stream)) == 1
