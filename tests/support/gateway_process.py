"""A gateway in a process of its own, as a partner and its operator see it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


@dataclass
class Running:
    """The gateway's process, as a partner and its operator see it."""

    process: subprocess.Popen[str]
    database_url: str
    log: Path
    ready: dict[str, Any]

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        return self.call(path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})

    def partner(self, **request: Any) -> tuple[int, Any]:
        return self.post("/partner/message/send", {"request": request}, **{"x-api-key": self.ready["key"]})

    def token(self, path: str, body: Any) -> tuple[int, Any]:
        return self.post(path, body, Authorization=f"Bearer {self.ready['key']}")

    def get(self, path: str) -> Any:
        return self.call(path, None, {"x-api-key": self.ready["key"]})[1]

    def call(self, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
        try:
            with urlopen(Request(self.ready["url"] + path, body, headers), timeout=20) as answer:
                text = answer.read().decode()
                return answer.status, json.loads(text) if text else None
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def stop(self) -> dict[str, Any]:
        """End it in order; return what the provider saw."""
        out, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, self.log.read_text()
        last: dict[str, Any] = json.loads(out)
        return last
