"""A master key that is lost: nothing opens any more, which is said, and secrets given anew are all that is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fake_channel import FakeChannel
from waypost.operations import OperationError, Operator, call
from waypost.plugin import SecretStr, Settings
from waypost.vault import Vault, new_key

OLD, NEW = "0ld-canary", "n3w-canary"


class TwoSecrets(Settings):
    """Settings with a secret that is needed and one that is not."""

    token: SecretStr
    other: SecretStr | None = None
    name: str = ""


@pytest.fixture
async def bereft(operator: Operator) -> Operator:
    """An operator whose vault has another key than the one that sealed the gateway and the provider app `one`."""
    info = {"account_settings": TwoSecrets, "provider_app_settings": TwoSecrets}
    operator.records["two"] = FakeChannel("two", info=info).record  # type: ignore[index]
    settings = {"token": OLD, "other": OLD, "name": "kept"}
    await call(operator, "provider-apps.create", {"name": "one", "plugin": "two", "settings": settings})
    arguments = {"name": "one", "plugin": "two", "settings": settings, "provider_app": "one"}
    await call(operator, "gateways.create", arguments)
    return replace(operator, vault=Vault([new_key()]))


async def update(operator: Operator, noun: str, settings: dict[str, Any]) -> dict[str, Any]:
    named = {"gateways": "gateway", "provider-apps": "provider_app"}[noun]
    changed: dict[str, Any] = await call(operator, f"{noun}.update", {named: "one", "settings": settings})
    return changed


@pytest.mark.parametrize("noun", ["gateways", "provider-apps"])
async def test_secrets_given_anew_need_nothing_of_the_old(bereft: Operator, noun: str) -> None:
    with pytest.raises(OperationError, match=r"give also other anew") as caught:
        await update(bereft, noun, {"token": NEW})
    assert "token" not in str(caught.value)
    with pytest.raises(OperationError, match=r"give also other, token anew"):
        await update(bereft, noun, {"name": "changed"})
    changed = await update(bereft, noun, {"token": NEW, "other": None})
    assert changed["settings"] == {"token": "••••••", "name": "kept"}
    again = await update(bereft, noun, {"name": "changed"})
    assert again["settings"] == {"token": "••••••", "name": "changed"}


async def test_the_doctor_finds_what_does_not_open(bereft: Operator, operator: Operator) -> None:
    async def found(who: Operator) -> list[tuple[str, str]]:
        findings = (await call(who, "doctor", {}))["findings"]
        assert not any(item["message"].endswith("..") for item in findings)
        return [(item["level"], item["code"]) for item in findings if item["code"] in ("gateway", "provider_app")]

    assert await found(operator) == []
    assert await found(bereft) == [("error", "gateway"), ("error", "provider_app")]
    unloaded = replace(bereft, records={})
    assert await found(unloaded) == [("error", "gateway"), ("error", "gateway"), ("error", "provider_app")]
    await update(bereft, "gateways", {"token": NEW, "other": None})
    assert await found(bereft) == [("error", "provider_app")]
    await call(bereft, "gateways.disable", {"gateway": "one"})
    assert await found(bereft) == [("warning", "provider_app")], "nobody needs it"
    assert await found(replace(operator, records={})) == [], "what is disabled is no error for ever"
