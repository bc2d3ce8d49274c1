"""The lock file beside a SQLite database: the node that serves it holds it alone, commands share it while they work."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

#: A socket's path may be 107 bytes long on Linux, 103 elsewhere.
LONGEST_SOCKET_PATH = 100


def database_path(url: str) -> Path:
    """The file of a `sqlite:///…` URL."""
    return Path(url.removeprefix("sqlite:///").partition("?")[0])


def socket_path(url: str) -> Path:
    """The admin socket of the node that serves a SQLite database."""
    path = database_path(url).resolve()
    return path.with_name(path.name + ".sock")


class NodeLock:
    """An advisory lock (`flock`), which the kernel lets go when its process ends, however it ends."""

    def __init__(self, url: str) -> None:
        # The file itself: by two names of it, two nodes would serve one database.
        path = database_path(url).resolve()
        self.path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    def take(self, *, patience: float = 0.0) -> bool:
        """Take it alone, as a serving node does; wait so many seconds for commands to finish. Say whether it worked."""
        until = time.monotonic() + patience
        while not self._take(fcntl.LOCK_EX):
            if not self.share():
                return False  # somebody has it alone, and will keep it
            self.release()
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return True

    def share(self) -> bool:
        """Take it beside other commands; False where a node serves."""
        return self._take(fcntl.LOCK_SH)

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str:
        """Who took it alone last: a process id, or nothing."""
        try:
            return self.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _take(self, kind: int) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket's path that is short enough for the kernel, through its folder's descriptor if need be."""
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
