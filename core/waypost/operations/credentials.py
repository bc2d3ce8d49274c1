"""Credentials: a plugin's settings as an operator gives them, checked by its model, parted into public and sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from waypost.operations.errors import InvalidArgumentError, OperationError
from waypost.plugin.settings import (
    Settings,
    UnresolvedReferenceError,
    redacted,
    resolve_references,
    secret_fields,
    split_secrets,
)
from waypost.vault import Vault, VaultError


@dataclass(frozen=True, slots=True)
class Checked:
    """Settings that a plugin accepts; `warnings` name what could not be looked at from here."""

    resolved: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())


def check(model: type[Settings], given: Mapping[str, Any]) -> Checked:
    """Validate settings by a plugin's model. Raises `InvalidArgumentError`.

    A `$env` or `$file` reference that leads nowhere here may do so on the nodes: it is a warning.
    """
    # First: what was mistyped is also missing under its right name, and that alone says less.
    unknown = sorted(given.keys() - model.model_fields.keys())
    if unknown:
        raise InvalidArgumentError(f"settings.{unknown[0]}", f"known are: {', '.join(model.model_fields)}")
    resolved: dict[str, Any] = {}
    unresolved: dict[str, str] = {}
    for name, value in given.items():
        try:
            resolved |= resolve_references({name: value})
        except UnresolvedReferenceError as error:
            unresolved[name] = str(error)
    try:
        model.model_validate(resolved)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            where = problem["loc"]
            if unresolved and (not where or where[0] in unresolved):
                continue
            raise InvalidArgumentError("settings." + ".".join(map(str, where)) if where else "settings",
                                       problem["msg"]) from None  # fmt: skip
    except Exception as error:
        raise InvalidArgumentError(
            "settings", f"the plugin's {model.__name__} raised {type(error).__name__}"
        ) from error
    return Checked(resolved, tuple(unresolved.values()))


def seal(vault: Vault, model: type[Settings], given: Mapping[str, Any], place: str) -> tuple[str, str]:
    """Settings as they are stored: (public JSON, sealed secrets for this place)."""
    public, secret = split_secrets(model, given)
    sealed = vault.seal(orjson.dumps(secret).decode(), place) if secret else ""
    return orjson.dumps(public).decode(), sealed


def unseal(vault: Vault, public: str, sealed: str, place: str) -> dict[str, Any]:
    """Settings as an operator gave them. Raises `VaultError`."""
    values: dict[str, Any] = orjson.loads(public)
    if sealed:
        values |= orjson.loads(vault.unseal(sealed, place))
    return values


def shown(vault: Vault, model: type[Settings] | None, public: str, sealed: str, place: str) -> dict[str, Any]:
    """Settings as they may be shown: references stay readable, secrets do not."""
    try:
        values = unseal(vault, public, sealed, place)
    except VaultError:
        return {**orjson.loads(public), "secrets": "sealed with a key that is not in WAYPOST_MASTER_KEYS"}
    if model is None:
        return {**orjson.loads(public), **dict.fromkeys(values.keys() - orjson.loads(public).keys(), "••••••")}
    return redacted(model, values)


def updated(
    vault: Vault, model: type[Settings], public: str, sealed: str, place: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings as an operator gave them, with some replaced; null takes one away.

    Where the master key is lost, changes that name every secret need nothing of the old ones. Raises `OperationError`.
    """
    try:
        before = unseal(vault, public, sealed, place)
    except VaultError as error:
        if missing := sorted(secret_fields(model) - changes.keys()):
            raise OperationError(
                "The old secrets cannot be opened; put the key that sealed them into WAYPOST_MASTER_KEYS, or give also "
                f"{', '.join(missing)} anew (null where there is none)."
            ) from error
        before = orjson.loads(public)
    merged = {**before, **changes}
    return {name: value for name, value in merged.items() if value is not None}
