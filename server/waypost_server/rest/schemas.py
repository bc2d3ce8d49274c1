"""JSON schemas of what the two APIs take and answer, from the models that validate and the plugins that are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from waypost.host.dispatch import ChannelPlugin

from waypost_server.rest.partner_request import PartnerMessage
from waypost_server.rest.token_request import TokenMessage

REF = "#/components/schemas/{model}"
STATUSES = (
    "QUEUED", "SENDING", "SENT", "DELIVERED", "READ", "FAILED", "UNDELIVERED", "EXPIRED", "CANCELED", "UNKNOWN",
)  # fmt: skip

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": REF.format(model=name)}


def token_schema(channel: str) -> str:
    """The name of the schema of a channel's token bodies."""
    return f"TokenMessage.{channel}"


def requests(plugins: Iterable[ChannelPlugin]) -> dict[str, Schema]:
    """The components of requests: both envelopes, with every content kind that some plugin can send."""
    by_channel: dict[str, dict[str, type[BaseModel]]] = {}
    for plugin in plugins:
        kinds = by_channel.setdefault(plugin.info.channel, {})
        for kind in sorted(plugin.info.content_kinds):
            model = plugin.info.content_model(kind)
            if model is not None:
                kinds.setdefault(kind, model)
    models = {model for kinds in by_channel.values() for model in kinds.values()} | {PartnerMessage, TokenMessage}
    ordered = sorted(models, key=lambda model: (model.__module__, model.__qualname__))
    inputs: list[tuple[Any, Any]] = [(model, "validation") for model in ordered]
    names, definitions = models_json_schema(inputs, ref_template=REF)
    found: dict[str, Schema] = definitions["$defs"]
    of_model = {model: schema["$ref"] for (model, _), schema in names.items()}
    kinds_of = {
        channel: {kind: {"$ref": of_model[model]} for kind, model in sorted(kinds.items())}
        for channel, kinds in sorted(by_channel.items())
    }
    contents = _contents(kinds_of.values())
    for name in ("PartnerMessage", "FallbackLeg"):
        properties = found[name]["properties"]
        properties["content"] = _content(properties["content"], contents)
        properties["channel"] = {"type": "string", "examples": list(kinds_of)} | properties["channel"]
    token = found.pop("TokenMessage")
    for channel, kinds_here in kinds_of.items():
        found[token_schema(channel)] = _token(token, kinds_here)
    found["PartnerRequest"] = {
        "type": "object",
        "required": ["request"],
        "additionalProperties": False,
        "properties": {"request": ref("PartnerMessage")},
    }
    return found


def _contents(kinds_of: Iterable[dict[str, Schema]]) -> list[Schema]:
    every: dict[tuple[str, str], Schema] = {}
    for kinds in kinds_of:
        for kind, schema in kinds.items():
            every[kind, schema["$ref"]] = {
                "allOf": [schema],
                "required": ["kind"],
                "properties": {"kind": {"const": kind}},
            }
    return [every[key] for key in sorted(every)]


def _content(flat: Schema, contents: list[Schema]) -> Schema:
    """A text, or an object of one of the kinds in place of any object."""
    branches = [branch for branch in flat["anyOf"] if branch.get("type") != "object"]
    described = {name: value for name, value in flat.items() if name != "anyOf"}
    return described | {"anyOf": [*branches, *contents]}


def _token(token: Schema, kinds: dict[str, Schema]) -> Schema:
    """A channel's bodies: the common fields, and a field named like each kind that holds the kind's own."""
    own = {kind: schema for kind, schema in kinds.items() if kind != "text"}
    properties = token["properties"] | own | {"type": {"type": "string", "enum": sorted(kinds)}}
    return token | {"properties": properties, "additionalProperties": False}


def answers(codes: Iterable[str]) -> dict[str, Schema]:
    """The components of answers."""
    moment = {"type": "string", "format": "date-time"}
    amount = {"type": "number", "description": "Exact to six decimal places."}
    message = {
        "messageId": {"type": "string", "pattern": "^msg_[0-9a-f]{32}$"},
        "recipient": {"type": "string"},
        "channel": {"type": "string"},
        "status": {"type": "string", "enum": list(STATUSES)},
        "cost": amount,
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    }
    details = message | {
        "createdAt": moment,
        "updatedAt": moment,
        "settled": {"type": "boolean"},
        "error": _object({"code": {"type": "string"}, "message": {"type": ["string", "null"]}}),
        "contradictory": {"const": True},
        "possibleDuplicate": {"const": True},
    }
    optional = ("error", "contradictory", "possibleDuplicate")
    event = {
        "at": moment,
        "event": {"type": "string"},
        "by": {"type": "string"},
        "step": {"type": "integer"},
        "attempt": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    }
    timeline = {"type": "array", "items": _object(event, optional=("attempt", "code", "detail"))}
    number = {"type": "integer", "minimum": 0}
    pagination = _object(dict.fromkeys(("page", "limit", "total", "totalPages"), number))
    money = dict.fromkeys(("balance", "held", "available", "creditLimit", "spendable"), amount)
    return {
        "Message": _object(message),
        "MessageDetails": _object(details | {"timeline": timeline}, optional=optional),
        "MessagePage": _object(
            {"messages": {"type": "array", "items": _object(details, optional=optional)}, "pagination": pagination}
        ),
        "Balance": _object(money | {"currency": message["currency"]}),
        "PartnerError": _object(
            {"success": {"const": False}, "error": {"type": "string"}, "code": {"enum": sorted(codes)}}
        ),
        "TokenAccepted": _object({"id": message["messageId"], "status": {"enum": ["queued", "sent"]}}),
        "TokenError": _object({"error": {"type": "string"}, "message": {"type": "string"}}),
    }


def envelope(data: str, *, told: bool = False) -> Schema:
    """The success envelope around a component."""
    properties: Schema = {"success": {"const": True}, "data": ref(data)}
    if told:
        properties["message"] = {"type": "string"}
    return _object(properties)


def _object(properties: Schema, *, optional: Iterable[str] = ()) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in properties if name not in set(optional)],
        "properties": properties,
    }
