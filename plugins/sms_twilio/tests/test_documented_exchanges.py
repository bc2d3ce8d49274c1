"""Exchanges that Twilio documents and that the channels leave to operators, as Twilio's own SDK makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twilio.rest import Client
from twilio.rest.content.v1.content import ContentList
from twilio.rest.content.v1.content.approval_create import ApprovalCreateList

CONTENT_SID = "HXf8aa5a783ac6df54b1d28473f2de4c75"
MMS_SID = "MM6790d83f14533db7476e8ec0b3c700ea"
CASSETTES = Path(__file__).parent / "cassettes"

Exchanges = Callable[[str], dict[str, Any]]


@pytest.fixture
def sdk(settings: Any) -> Client:
    """Twilio's client by its own transport."""
    return Client(settings.account_sid, settings.auth_token.get_secret_value())


def test_a_content_template_is_made_and_fetched(sdk: Client, cassette: Any, exchanges: Exchanges) -> None:
    documented = exchanges("content_create")["response"]["body"]
    wanted = ContentList.ContentCreateRequest({**exchanges("content_create")["request"]["body"], "types": _Types()})
    with cassette("content_create") as played:
        made = sdk.content.v1.contents.create(wanted)
    assert played.all_played
    with cassette("content_fetch") as played:
        found = sdk.content.v1.contents(CONTENT_SID).fetch()
    assert played.all_played
    for content in (made, found):
        assert (content.sid, content.friendly_name) == (CONTENT_SID, "order_shipped")
        assert (content.variables, content.types) == (documented["variables"], documented["types"])


class _Types:
    """Types as documented: the SDK's own class also writes all those that are not given."""

    def to_dict(self) -> dict[str, Any]:
        text = "Hi {{1}}, your order {{2}} has shipped."
        button = {"title": "Confirm", "id": "confirm-{{2}}"}
        return {"twilio/text": {"body": text}, "twilio/quick-reply": {"body": text, "actions": [button]}}


def test_a_template_is_submitted_and_approved(sdk: Client, cassette: Any) -> None:
    request = ApprovalCreateList.ContentApprovalRequest({"name": "order_shipped", "category": "UTILITY"})
    template = sdk.content.v1.contents(CONTENT_SID)
    with cassette("content_approval_create") as played:
        submitted = template.approval_create.create(request)
    assert played.all_played
    assert (submitted.name, submitted.category, submitted.status) == ("order_shipped", "UTILITY", "received")
    with cassette("content_approval_fetch_approved") as played:
        approval = template.approval_fetch().fetch()
    assert played.all_played
    assert (approval.sid, approval.whatsapp["status"]) == (CONTENT_SID, "approved")


def test_the_media_of_a_message_are_listed(sdk: Client, cassette: Any) -> None:
    with cassette("media_list") as played:
        (media,) = sdk.messages(MMS_SID).media.list()
    assert played.all_played
    assert (media.sid, media.parent_sid) == ("MEc233978d5613de63e284d45361061089", MMS_SID)
    assert media.content_type == "image/jpeg"


def test_a_scheduled_message_is_canceled(sdk: Client, cassette: Any) -> None:
    with cassette("message_cancel_scheduled") as played:
        canceled = sdk.messages("SM4f5904e246496f212b64e9055e7f2d6e").update(status="canceled")
    assert played.all_played
    assert (canceled.status, canceled.body, canceled.date_sent) == ("canceled", "Later", None)


def test_every_cassette_says_where_it_comes_from() -> None:
    for path in CASSETTES.glob("*.yaml"):
        assert path.read_text().startswith("# Transcribed from Twilio's documentation"), path.name
        assert "Basic" not in path.read_text()
