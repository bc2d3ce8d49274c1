"""The vault: opens only what was sealed for this place, with a key it has."""

from __future__ import annotations

import base64
import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waypost import vault as vaults
from waypost.vault import Vault, VaultError, new_key

OLD, NEW = new_key(), new_key()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_what_is_sealed_opens_again(secret: str) -> None:
    sealed = Vault([NEW]).seal(secret, "gateway/gw_1")
    assert Vault([NEW]).unseal(sealed, "gateway/gw_1") == secret


def test_a_secret_is_never_sealed_the_same_way_twice() -> None:
    vault = Vault([NEW])
    assert vault.seal("s", "p") != vault.seal("s", "p")


def test_moved_to_another_row_it_does_not_open() -> None:
    vault = Vault([NEW])
    with pytest.raises(VaultError):
        vault.unseal(vault.seal("s", "gateway/gw_1"), "gateway/gw_2")


def test_without_its_key_it_does_not_open() -> None:
    with pytest.raises(VaultError):
        Vault([NEW]).unseal(Vault([OLD]).seal("s", "p"), "p")


def test_during_a_rotation_old_ones_open_and_new_ones_use_the_new_key() -> None:
    both = Vault([NEW, OLD])
    assert both.unseal(Vault([OLD]).seal("s", "p"), "p") == "s"
    assert Vault([NEW]).unseal(both.seal("s", "p"), "p") == "s"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s[:-4],
        lambda s: s + "AAAA",
        lambda s: "",
        lambda s: "x" + s,
        lambda s: s.replace(":", ""),
        lambda s: s.split(":")[0] + ":!",
    ],
    ids=["cut", "longer", "empty", "other key", "no key", "not base64"],
)
def test_a_spoiled_ciphertext_does_not_open(spoil: object) -> None:
    vault = Vault([NEW])
    with pytest.raises(VaultError):
        vault.unseal(spoil(vault.seal("secret", "p")), "p")  # type: ignore[operator]


@pytest.mark.parametrize("keys", [[], ["short"], ["!" * 44], [base64.b64encode(b"x" * 16).decode()]])
def test_a_key_that_is_none_is_refused_without_being_shown(keys: list[str]) -> None:
    with pytest.raises(VaultError) as caught:
        Vault(keys)
    assert all(key not in str(caught.value) for key in keys)


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data/master.key"
    sealed = Vault.open([], path).seal("s", "p")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Vault.open([], path).unseal(sealed, "p") == "s"
    assert Vault.open([NEW], path).unseal(Vault([NEW]).seal("s", "p"), "p") == "s"


def test_who_finds_a_key_file_being_made_has_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nodes that are started together for the first time."""
    path, others = tmp_path / "master.key", []

    def meanwhile() -> str:
        monkeypatch.undo()
        others.append(Vault.open([], path))
        return new_key()

    monkeypatch.setattr(vaults, "new_key", meanwhile)
    sealed = Vault.open([], path).seal("s", "p")
    assert [other.unseal(sealed, "p") for other in others] == ["s"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_could_not_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(VaultError, match="No space left"):
            Vault.open([], tmp_path / "master.key")
    assert list(tmp_path.iterdir()) == []
    Vault.open([], tmp_path / "master.key")


def test_a_file_system_without_links_has_its_key_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    sealed = Vault.open((), tmp_path / "master.key").seal("secret", "a")
    assert Vault.open((), tmp_path / "master.key").unseal(sealed, "a") == "secret"
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_is_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "master.key").symlink_to(tmp_path / "gone")
    with pytest.raises(VaultError, match="link to a file that is not there"):
        Vault.open([], tmp_path / "master.key")
