"""Settings: one declaration serves validation, `$env`/`$file` references and encryption.

A plugin declares two models: its account settings (one set per gateway) and its provider-app settings (one set shared
by gateways, such as a Meta app's secret). A secret is a field of type `SecretStr` (or a tuple of them, newest first,
where several are live during a rotation).
"""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

__all__ = [
    "REDACTED",
    "NoSettings",
    "SecretStr",
    "Settings",
    "UnresolvedReferenceError",
    "redacted",
    "resolve_references",
    "secret_fields",
    "several",
    "split_secrets",
]

#: What stands in for a secret wherever settings are shown.
REDACTED = "••••••"


class Settings(BaseModel):
    """A plugin's settings: frozen, and closed to fields it does not declare."""

    #: Input stays out of error texts: it may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)


class NoSettings(Settings):
    """For a plugin that needs none."""


class UnresolvedReferenceError(ValueError):
    """A setting refers to an environment variable or file that is not there; set it, or give the value itself."""


def several(value: Any) -> Any:
    """Several values that come as one text, as `--set`, `$env` and `$file` give it: apart by spaces or commas.

    For a pydantic `BeforeValidator` of a tuple of texts or secrets; any other value is left to the model.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return tuple(text.replace(",", " ").split()) if isinstance(text, str) else value


def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """The names of a model's secret fields."""
    return frozenset(name for name, field in model.model_fields.items() if _holds_secret(field.annotation))


def _holds_secret(annotation: Any) -> bool:
    if annotation is SecretStr:
        return True
    return any(_holds_secret(part) for part in typing.get_args(annotation))


def split_secrets(model: type[BaseModel], data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part raw settings into (public, secret), so that the secret half can be encrypted."""
    secret = secret_fields(model)
    return (
        {name: value for name, value in data.items() if name not in secret},
        {name: value for name, value in data.items() if name in secret},
    )


def resolve_references(data: Mapping[str, Any]) -> dict[str, Any]:
    """Replace every `{"$env": NAME}` and `{"$file": PATH}` by what it refers to.

    Raises `UnresolvedReferenceError` when the variable is unset or the file cannot be read.
    """
    return {name: _resolve(name, value) for name, value in data.items()}


def _resolve(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"$env"}:
            resolved = os.environ.get(str(value["$env"]))
            if resolved is None:
                raise UnresolvedReferenceError(f"setting {name!r}: environment variable {value['$env']} is not set")
            return resolved
        if set(value) == {"$file"}:
            try:
                return Path(str(value["$file"])).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise UnresolvedReferenceError(
                    f"setting {name!r}: file {value['$file']} cannot be read ({error.strerror})"
                ) from error
            except ValueError as error:  # not UTF-8; or a NUL, which no path holds
                raise UnresolvedReferenceError(
                    f"setting {name!r}: its file cannot be read as UTF-8 text; look at its path and at what is in it"
                ) from error
        return {key: _resolve(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(name, item) for item in value]
    return value


def redacted(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they may be shown: references stay readable, secrets do not."""
    secret = secret_fields(model)

    def shown(name: str, value: Any) -> Any:
        is_reference = isinstance(value, Mapping) and len(value) == 1 and next(iter(value)).startswith("$")
        return value if name not in secret or is_reference else REDACTED

    return {name: shown(name, value) for name, value in data.items()}
