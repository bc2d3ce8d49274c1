"""A wrapper from a wheel goes around every send of a real gateway, or the gateway does not start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway_process import Running

Installed = Callable[..., Path]
Run = Callable[..., Running]


def test_every_send_leaves_its_lines(installed: Installed, run: Run, tmp_path: Path) -> None:
    trail = tmp_path / "trail.jsonl"
    folder = installed("telegram", "audit_trail")
    gateway = run(folder, "telegram", "message", WAYPOST_WRAPPERS="audit_trail", AUDIT_TRAIL_FILE=str(trail))
    ids = []
    for to, status in (("5550001", "SENT"), ("900000012", "FAILED")):
        code, answer = gateway.partner(channel="TELEGRAM", to=to, content="a private word")
        assert (code, answer["data"]["status"]) == (200, status), answer
        ids.append(answer["data"]["messageId"])
    gateway.stop()
    lines = [json.loads(line) for line in trail.read_text().splitlines()]
    assert [(line["event"], line["attempt"], line.get("outcome")) for line in lines] == [
        ("begin", f"{ids[0]}.1.1", None),
        ("end", f"{ids[0]}.1.1", "sent"),
        ("begin", f"{ids[1]}.1.1", None),
        ("end", f"{ids[1]}.1.1", "OptedOut"),
    ]
    assert {(line["plugin"], line["channel"], line["kind"]) for line in lines} == {("telegram", "TELEGRAM", "text")}
    assert "private" not in trail.read_text()
    assert "5550001" not in trail.read_text()


@pytest.mark.parametrize(
    ("examples", "environment"),
    [(("telegram",), {"AUDIT_TRAIL_FILE": "trail.jsonl"}), (("telegram", "audit_trail"), {})],
    ids=["not installed", "not configured"],
)
def test_a_gateway_does_not_start_without_it(
    installed: Installed, run: Run, examples: tuple[str, ...], environment: dict[str, str]
) -> None:
    with pytest.raises(AssertionError, match="WrapperUnusableError: wrapper audit_trail"):
        run(installed(*examples), "telegram", "message", WAYPOST_WRAPPERS="audit_trail", **environment)
