"""Are secrets typed as such, and never shown?"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from waypost.plugin.settings import secret_fields
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.fault_server import Fault, FaultServer
from waypost.testing.stage import on_stage
from waypost.testing.subject import Subject, secrets_of

#: How settings that hold a secret are called.
SECRET_NAME = re.compile(
    r"(^|_)(secrets?|passwords?|passwd|passphrase|tokens?|api_?keys?|access_keys?|private_keys?|signing_keys?|"
    r"auth_keys?|client_keys?|credentials?|pin)$",
    re.IGNORECASE,
)


class SettingsChecks(Subject):
    """The two settings models."""

    @check(
        "bronze", "Derive from waypost.plugin.Settings and leave its model_config alone: frozen, and no extra fields."
    )
    def test_settings_closed(self) -> None:
        """Settings have a JSON Schema, are frozen, and refuse fields they do not declare."""
        simulator = self.new_simulator()
        account = self.account_of(simulator)
        for name, model in self._models():
            try:
                model.model_json_schema()
            except Exception as error:  # noqa: BLE001 - pydantic raises several kinds
                raise CheckFailed(f"{name} have no JSON Schema ({type(error).__name__}: {error})") from None
            given = account.raw if name == "account settings" else account.app_raw
            try:
                model.model_validate({**given, "waypost_no_such_field": "1"})
            except ValidationError:
                pass
            else:
                raise CheckFailed(f"{name} take a field that they do not declare")
            if not model.model_config.get("frozen"):
                raise CheckFailed(f"{name} are not frozen")

    @check("bronze", "Declare the setting as `SecretStr` (or a tuple of them): it is then encrypted and never shown.")
    async def test_secrets_typed(self) -> None:
        """What is named like a secret, or sent as a credential, is a `SecretStr`."""
        problems = [
            f"{name}: {field!r} is named like a secret and is not a SecretStr"
            for name, model in self._models()
            for field in model.model_fields
            if SECRET_NAME.search(field) and field not in secret_fields(model)
        ]
        problems += [f"account settings: {field!r} is sent as a credential" for field in await self._sent_in_plain()]
        if problems:
            raise CheckFailed("\n".join(problems))

    async def _sent_in_plain(self) -> list[str]:
        """The settings that are no secrets by their type, and yet are what a request proves itself with."""
        if not self.speaks_http:
            return []
        with FaultServer(Fault(status=500)) as server:
            async with on_stage(self, url=server.url) as stage:
                with contextlib.suppress(Exception):
                    await stage.send(self.message(stage.simulator))
                account = stage.account.account
            credentials = {request.credentials for request in server.requests} - {""}
        secret = secret_fields(type(account))
        return [
            name
            for name, value in dict(account).items()
            if name not in secret and isinstance(value, str) and value in credentials
        ]

    @check("bronze", "Keep secrets in `SecretStr` fields, without a `__repr__` or validator that shows them.")
    def test_secrets_hidden(self) -> None:
        """No secret is in the settings' `repr`, `str` or JSON, nor in what their validation says."""
        account = self.account_of(self.new_simulator())
        secrets = secrets_of(account.account, account.provider_app)
        if not secrets:
            raise NotApplicable("not applicable: its settings hold no secret")
        shown = [
            text
            for model in (account.account, account.provider_app)
            for text in (repr(model), str(model), f"{model}", model.model_dump_json(), repr(model.model_dump()))
        ]
        shown += _complaints(type(account.account), account.raw) + _complaints(
            type(account.provider_app), account.app_raw
        )
        if any(secret in text for secret in secrets for text in shown):
            raise CheckFailed("a secret can be read in the settings' repr, str, JSON or validation errors")

    def _models(self) -> list[tuple[str, type[BaseModel]]]:
        info = self.channel.info
        return [("account settings", info.account_settings), ("provider-app settings", info.provider_app_settings)]


def _complaints(model: type[BaseModel], raw: Any) -> list[str]:
    """What validation says when each field in turn is wrong and the others hold what they should."""
    told = []
    for name in [*model.model_fields, "waypost_no_such_field"]:
        for wrong in ({"value": raw.get(name)}, [[raw.get(name)]], f"{raw.get(name)}\n\x00 {raw.get(name)}", None):
            try:
                model.model_validate({**raw, name: wrong})
            except ValidationError as error:
                told += [str(error), repr(error)]
            except Exception as error:  # noqa: BLE001 - whatever a validator raises is shown to operators, too
                told += [str(error), repr(error)]
    return told
