"""A node that serves has set its interpreter for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from waypost_server.interpreter import TURN, YOUNG

SERVE = """
import asyncio, gc, json, sys
from pydantic import SecretStr
from waypost.config import Config
from waypost.vault import new_key
from waypost_server.serve import serve

async def main():
    stop = asyncio.Event()
    config = Config(database_url=sys.argv[1], port=0, master_keys=(SecretStr(new_key()),))
    await serve(config, "all", stop, lambda url: stop.set())
    print(json.dumps([sys.getswitchinterval(), gc.get_threshold()[0], gc.get_freeze_count() > 0]))

asyncio.run(main())
"""


def test_a_node_that_serves_has_set_its_interpreter(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, f"sqlite:///{tmp_path}/waypost.db"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path).stdout
    turn, young, frozen = json.loads(told.splitlines()[-1])
    assert abs(turn - TURN) < TURN / 100
    assert (young, frozen) == (YOUNG, True)
