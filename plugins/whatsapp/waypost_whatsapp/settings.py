"""What an operator enters for one WhatsApp business phone number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from waypost_meta_graph import GraphAccountSettings

Category = Literal["marketing", "marketing_lite", "utility", "authentication", "authentication_international"]
GraphId = Annotated[str, Field(pattern=r"^[0-9]{1,32}$")]


class WhatsAppSettings(GraphAccountSettings):
    """One business phone number at Meta and the token that may send from it.

    `template_categories` says under which category a template is charged; it outranks what a partner claims, and
    `default_category` stands in where neither says anything.
    """

    phone_number_id: GraphId = Field(
        title="Phone number id", description="Meta's id of the sender, not the number itself."
    )
    waba_id: GraphId | None = Field(
        default=None,
        title="WhatsApp Business Account id",
        description="Needed to list templates and to connect webhooks.",
    )
    default_language: str = Field(default="en_US", pattern=r"^[A-Za-z_]{2,15}$", title="Default template language")
    default_category: Category = Field(default="marketing", title="Default template category")
    template_categories: dict[str, Category] = Field(default_factory=dict, title="Category by template name")
