"""The registry: every operation by its name, with its arguments checked the same way whoever asks."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from waypost.operations.errors import InvalidArgumentError, UnknownOperationError
from waypost.operations.operator import Operator

_SURROGATE = re.compile("[\ud800-\udfff]")

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Operation:
    """Something an operator may do: arguments as JSON in, JSON out."""

    name: str
    arguments: type[BaseModel]
    function: Callable[..., Awaitable[Any]]


OPERATIONS: dict[str, Operation] = {}


def operation(name: str) -> Callable[[Function], Function]:
    """Register an async function of an `Operator` and keyword arguments under a name."""

    def register(function: Function) -> Function:
        OPERATIONS[name] = Operation(name, _arguments(name, function), function)
        return function

    return register


async def call(operator: Operator, name: str, arguments: Mapping[str, Any]) -> Any:
    """Do an operation by name. Raises `OperationError` for whatever the operator can mend."""
    found = OPERATIONS.get(name)
    if found is None:
        raise UnknownOperationError
    try:
        checked = found.arguments.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise InvalidArgumentError(".".join(map(str, first["loc"])) or name, first["msg"]) from None
    for argument, value in arguments.items():
        if not _is_storable(value):
            raise InvalidArgumentError(argument, "write text in UTF-8, without the NUL character")
    return await found.function(operator, **{field: getattr(checked, field) for field in checked.model_fields_set})


def _is_storable(value: Any) -> bool:
    """Whether a text, or a list of them, can be stored: who does not write UTF-8 gives us lone surrogates."""
    if isinstance(value, str):
        return "\0" not in value and (value.isascii() or not _SURROGATE.search(value))
    return not isinstance(value, list) or all(map(_is_storable, value))


def _arguments(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
    config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    return create_model(f"Arguments[{name}]", __config__=config, **fields)
