"""Settings of a Facebook Page that sends and receives on Messenger."""

from __future__ import annotations

from pydantic import Field
from waypost_meta_graph.messaging_settings import AccountId, MessageTags, MessagingAccount

#: As documented; reports say that all but the first are being retired in favour of utility templates.
DOCUMENTED_TAGS = ("HUMAN_AGENT", "ACCOUNT_UPDATE", "CONFIRMED_EVENT_UPDATE", "POST_PURCHASE_UPDATE")


class MessengerAccount(MessagingAccount):
    """A Facebook Page. `access_token` is a Page access token with the permission `pages_messaging`."""

    page_id: AccountId = Field(title="Page id", description="Meta's id of the Facebook Page.")
    message_tags: MessageTags = Field(
        default=DOCUMENTED_TAGS, title="Message tags", description="The tags that partners may send with."
    )

    @property
    def node(self) -> str:
        """The path under which the Page sends."""
        return self.page_id
