"""A plugin's `ChannelInfo`, held to its types when the plugin is loaded: a wrong one would break others, and later."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, StrictFloat, StrictInt, StrictStr, ValidationError

from waypost.plugin.content import Content
from waypost.plugin.settings import Settings, secret_fields
from waypost.plugin.types import ChannelInfo, LastReceipt, Limits, Receives, WebhookReply, WebhookScope

#: What partners may write for a channel, in capital letters.
_CHANNEL = r"^[A-Z][A-Z0-9_]{0,31}$"
#: The longest that one send may take, in seconds: its lease lasts longer.
LONGEST_SEND = 600.0
_SCOPES = ("account_settings", "provider_app_settings")


class _Declared(BaseModel):
    """The fields of a `ChannelInfo` that are plain values."""

    model_config = ConfigDict(arbitrary_types_allowed=True, from_attributes=True)

    channel: Annotated[StrictStr, Field(pattern=_CHANNEL)]
    title: StrictStr
    address_kinds: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    content_kinds: frozenset[StrictStr]
    content_models: tuple[type[Any], ...]
    features: frozenset[StrictStr]
    limits: InstanceOf[Limits]
    last_receipt: LastReceipt
    receives: Receives
    webhook_scope: WebhookScope
    webhook_ack: InstanceOf[WebhookReply]
    account_ref_field: StrictStr | None
    idempotent_for: Annotated[StrictInt, Field(ge=0)]
    send_timeout: Annotated[StrictFloat | StrictInt, Field(gt=0, le=LONGEST_SEND, allow_inf_nan=False)]
    documentation: StrictStr
    examples: Mapping[StrictStr, Mapping[StrictStr, Any]]


def faults(info: ChannelInfo) -> Iterable[str]:
    """What is wrong with a declaration, each as the end of a sentence that begins with `channel_info()`."""
    try:
        _Declared.model_validate(info)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            yield f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        return
    for scope in _SCOPES:
        yield from (f"{scope} {fault}" for fault in _settings_faults(getattr(info, scope)))
    for model in info.content_models:
        yield from (f"content_models {fault}" for fault in _content_faults(model))


def _settings_faults(model: object) -> Iterable[str]:
    if not isinstance(model, type) or not issubclass(model, Settings):
        yield "must be a subclass of waypost.plugin.Settings"
        return
    yield from _schema_faults(model)
    for name, field in model.model_fields.items():
        if any(_holds_secrets(inner) for inner in _models_in(field.annotation)):
            yield f"{name}: a secret must be a field of the settings themselves, not of a model within them"


def _content_faults(model: object) -> Iterable[str]:
    if not isinstance(model, type) or not issubclass(model, Content):
        yield "must be subclasses of Content"
        return
    kind = model.model_fields["kind"].default
    if not isinstance(kind, str) or "." not in kind:
        yield f'{model.__name__}: its kind must be its own, by default: kind: Literal["vendor.kind"] = …'
    yield from _schema_faults(model)


def _schema_faults(model: type[BaseModel]) -> Iterable[str]:
    """A model of which no JSON schema can be made, as when a name in an annotation is not known."""
    try:
        model.model_json_schema()
    except Exception as error:  # noqa: BLE001 - whatever a stranger's model raises
        yield f"{model.__name__}: no JSON schema can be made of it ({type(error).__name__})"


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)


def _holds_secrets(model: type[BaseModel]) -> bool:
    inner = (found for field in model.model_fields.values() for found in _models_in(field.annotation))
    return bool(secret_fields(model)) or any(_holds_secrets(found) for found in inner if found is not model)
