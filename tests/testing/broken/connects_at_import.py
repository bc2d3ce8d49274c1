import contextlib
import socket

from broken_channels import good as channel

with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", 9), timeout=0.1)

__all__ = ["channel"]
