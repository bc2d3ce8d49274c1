"""The lock beside a SQLite file, and names of sockets that are short enough."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from waypost_server.node_lock import NodeLock, short_path, socket_path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/waypost.db"


def test_a_node_keeps_everybody_out_and_commands_only_nodes(url: str) -> None:
    node, command, other = NodeLock(url), NodeLock(url), NodeLock(url)
    assert command.share()
    assert other.share()
    assert not node.take()
    command.release()
    other.release()
    assert node.take()
    assert node.holder() == str(os.getpid())
    assert not command.share()
    assert not other.take(patience=60), "it does not wait for a node, which stays"
    node.release()
    assert command.share()
    command.release()


def test_another_name_of_the_same_file_is_the_same_lock(url: str, tmp_path: Path) -> None:
    (tmp_path / "waypost.db").touch()
    (tmp_path / "link.db").symlink_to("waypost.db")
    node, other = NodeLock(url), NodeLock(f"sqlite:///{tmp_path}/link.db")
    assert node.take()
    assert not other.take()
    assert socket_path(f"sqlite:///{tmp_path}/link.db") == socket_path(url)
    node.release()


@pytest.mark.parametrize("folder", ["short", "long" * 40])
def test_a_socket_works_however_long_its_path(tmp_path: Path, folder: str) -> None:
    path = socket_path(f"sqlite:///{tmp_path}/{folder}/waypost.db")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        with short_path(path) as name:
            listener.bind(name)
        assert path.is_socket()
        listener.listen()
        with short_path(path) as name:
            caller.connect(name)
