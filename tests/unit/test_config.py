"""Configuration: arguments over environment over file; what is wrong is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from waypost.config import Config


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_needs_nothing() -> None:
    config = Config()
    assert config.database_url.startswith("sqlite:///")
    assert (config.channels, config.master_keys, config.public_url) == ((), (), None)


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waypost.toml").write_text(
        'port = 1\nhost = "file"\nchannels = ["a", "b"]\npublic_url = "https://x/"\n'
    )
    monkeypatch.setenv("WAYPOST_PORT", "2")
    monkeypatch.setenv("WAYPOST_HOST", "environment")
    config = Config(port=3)
    assert (config.port, config.host, config.channels, config.public_url) == (3, "environment", ("a", "b"), "https://x")


def test_lists_are_comma_separated_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_CHANNELS", "sms_twilio, whatsapp,,")
    monkeypatch.setenv("WAYPOST_MASTER_KEYS", "first,second")
    config = Config()
    assert config.channels == ("sms_twilio", "whatsapp")
    assert [key.get_secret_value() for key in config.master_keys] == ["first", "second"]
    assert "first" not in repr(config)


@pytest.mark.parametrize(
    "wrong", [{"poll": 0}, {"lease": 0.5}, {"wait": -1}, {"validity": 0}, {"no_such": 1}, {"port": "x"}]
)
def test_what_is_wrong_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config(**wrong)  # type: ignore[arg-type]
