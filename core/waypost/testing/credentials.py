"""Another account's credentials, and none at all."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr

from waypost.plugin.settings import secret_fields
from waypost.testing.stage import Stage
from waypost.testing.subject import Account, Subject


def with_other_secrets(subject: Subject, stage: Stage) -> Account:
    """Another simulator's account, its secrets altered where both have the same."""
    # Without HTTP the settings say where this very simulator listens, and another's would say where none does.
    is_other = subject.speaks_http
    other = subject.account_at(subject.new_simulator(), stage.simulator.base_url) if is_other else stage.account
    raw = _altered(type(other.account), other.raw, stage.account.raw)
    app_raw = _altered(type(other.provider_app), other.app_raw, stage.account.app_raw)
    return subject.account(raw, app_raw)


def _altered(model: type[BaseModel], raw: Any, same_as: Any) -> dict[str, Any]:
    return {
        name: _other(value) if name in secret_fields(model) and value == same_as.get(name) else value
        for name, value in raw.items()
    }


def _other(value: Any) -> Any:
    """A secret of the same shape: its characters in another order."""
    if isinstance(value, str):
        return value[1:] + value[:1] if len(set(value)) > 1 else value + value
    return [_other(item) for item in value] if isinstance(value, list | tuple) else value


def without_secrets(account: Account) -> dict[str, Any]:
    """Contexts' settings with every optional field left out and every secret empty, validated or not."""
    bare: dict[str, Any] = {}
    for name, settings, raw in (
        ("account", account.account, account.raw),
        ("provider_app", account.provider_app, account.app_raw),
    ):
        model = type(settings)
        kept = {
            field: getattr(settings, field)
            for field, declared in model.model_fields.items()
            if field in raw and declared.is_required() and field not in secret_fields(model)
        }
        secret = (field for field in secret_fields(model) if model.model_fields[field].is_required())
        required: dict[str, Any] = {field: SecretStr("") for field in secret}
        bare[name] = model.model_construct(**kept, **required)
    return bare
