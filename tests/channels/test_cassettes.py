"""Twilio's and SendGrid's cassettes play what is documented: a request or an answer that drifts is noticed here.

Meta's, which share a client, are held to their documentation in `plugins/meta_graph/tests/test_cassettes.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
#: Lists whose page and filter are of our own choosing, whatever the documented request asks for.
OWN_QUERIES = {"content_and_approvals_list", "messages_list_page"}


def exchanges(plugin: str) -> dict[str, Any]:
    """The documented requests and answers of a plugin's provider, by name."""
    folder = PLUGINS / plugin / "tests" / "fixtures" / "api"
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def tape(plugin: str, name: str) -> Path:
    return PLUGINS / plugin / "tests" / "cassettes" / f"{name}.yaml"


def sent(request: dict[str, Any]) -> Any:
    """The body of a documented request, as comparable as `played` makes it."""
    if "form" in request:
        return {name: value if isinstance(value, list) else [value] for name, value in request["form"].items()}
    return request.get("body")


def played(request: dict[str, Any]) -> Any:
    """The body of a cassette's request."""
    if not request["body"]:
        return None
    if request["headers"].get("Content-Type") == ["application/x-www-form-urlencoded"]:
        return parse_qs(request["body"], keep_blank_values=True)
    return json.loads(request["body"])


DOCUMENTED = [(plugin, name) for plugin in ("email_sendgrid", "sms_twilio") for name in exchanges(plugin)]


@pytest.mark.parametrize(("plugin", "name"), DOCUMENTED)
def test_a_cassette_plays_what_is_documented(plugin: str, name: str) -> None:
    documented = exchanges(plugin)[name]
    (interaction,) = yaml.safe_load(tape(plugin, name).read_text(encoding="utf-8"))["interactions"]
    request, answer = interaction["request"], interaction["response"]
    wanted, given = documented["request"]["url"], request["uri"]
    if name in OWN_QUERIES:
        wanted, given = wanted.partition("?")[0], given.partition("?")[0]
    assert (request["method"], given) == (documented["request"]["method"], wanted)
    if documented["request"].get("body") != {}:  # an answer to whatever was asked
        assert played(request) == sent(documented["request"])
    written = answer["body"]["string"]
    assert answer["status"]["code"] == documented["response"]["status"]
    if "body" in documented["response"]:
        assert json.loads(written) == documented["response"]["body"]
    else:
        assert written == documented["response"]["body_text"]
    headers = {name.lower(): values for name, values in answer["headers"].items()}
    for header, value in documented["response"]["headers"].items():
        assert headers[header.lower()] in (value, [value])


def test_there_are_as_many_as_are_known_of() -> None:
    assert len(DOCUMENTED) >= 48


@pytest.mark.parametrize("plugin", ["email_sendgrid", "sms_twilio"])
def test_no_cassette_lies_idle(plugin: str) -> None:
    tests = PLUGINS / plugin / "tests"
    named = "".join(path.read_text(encoding="utf-8") for path in tests.glob("test_*.py"))
    assert [path.stem for path in (tests / "cassettes").glob("*.yaml") if f'"{path.stem}"' not in named] == []
