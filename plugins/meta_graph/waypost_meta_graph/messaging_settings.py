"""Settings that Messenger and Instagram share beyond those of the Graph."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from waypost.plugin import several

from waypost_meta_graph.settings import GraphAccountSettings

#: The id of a Page or an Instagram account: digits.
AccountId = Annotated[str, Field(pattern=r"^[0-9]{1,32}$")]
#: The message tags that partners may use. Meta retires tags now and then, so that the list is the operator's.
MessageTags = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")], ...], BeforeValidator(several), Field(max_length=20)
]


class MessagingAccount(GraphAccountSettings):
    """An account of the Send API. A product adds its ids, and the tags that it knows."""

    message_tags: MessageTags = Field(
        default=("HUMAN_AGENT",), title="Message tags", description="The tags that partners may send with."
    )

    @property
    def node(self) -> str:
        """The path under which the account sends."""
        raise NotImplementedError
