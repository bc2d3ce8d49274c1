"""A small valid example of each content kind, for documentation, the demo and the contract kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MESSAGE_ID = "wamid.HBgLMTY1MDU1NTAxNDMVAgASGBRFMTJBNDg1NjVCRjhGMzEwQjE4MAA="

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "text": {"body": "Your order has shipped."},
    "template": {
        "template_id": "order_update",
        "language": "en_US",
        "variables": {"1": "Ada", "2": "A-42"},
        "category": "utility",
    },
    "image": {"url": "https://cdn.example.test/p.jpg", "caption": "New arrival"},
    "video": {"media_id": "1166846181421424", "caption": "How to"},
    "audio": {"url": "https://cdn.example.test/a.ogg"},
    "document": {"url": "https://cdn.example.test/i.pdf", "filename": "invoice-0042.pdf", "caption": "Invoice"},
    "sticker": {"media_id": "798882015472548"},
    "location": {"latitude": 37.758056, "longitude": -122.425332, "name": "Example HQ", "address": "1 Example Way"},
    "contacts": {
        "contacts": [
            {
                "name": {"formatted_name": "Support Desk", "first_name": "Support"},
                "phones": [{"phone": "+1 650 555 0100", "type": "WORK", "wa_id": "16505550100"}],
            }
        ]
    },
    "reaction": {"message_id": _MESSAGE_ID, "emoji": "😀"},
    "buttons": {
        "header": "Delivery",
        "body": "Keep your slot?",
        "footer": "Reply within 2h",
        "choices": [{"id": "keep", "title": "Keep"}, {"id": "cancel-button", "title": "Cancel"}],
    },
    "list": {
        "header": "Shipping",
        "body": "Choose an option",
        "button": "Options",
        "sections": [
            {"title": "Fast", "choices": [{"id": "priority", "title": "Priority", "description": "Next day"}]},
            {"title": "Cheap", "choices": [{"id": "ground", "title": "Ground"}]},
        ],
    },
    "whatsapp.interactive": {
        "interactive": {
            "type": "location_request_message",
            "body": {"text": "Where are you?"},
            "action": {"name": "send_location"},
        }
    },
    "mark_read": {"message_id": _MESSAGE_ID},
    "typing_on": {"message_id": _MESSAGE_ID},
}
