"""Asks a fresh process how a plugin is imported and how its first sends treat the event loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from waypost.testing.check import CheckFailed

#: A probe imports the plugin and sends three times, in seconds.
LONGEST = 60.0


def probe(job: dict[str, Any]) -> dict[str, Any]:
    """The probe's answer to a job. Raises `CheckFailed` where the plugin does not let it answer."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "waypost.testing.probe"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"importing and sending took longer than {LONGEST:g} s") from None
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CheckFailed(f"the process that imported the plugin ended with {done.returncode}: {last}") from None
    if "error" in answer:
        raise CheckFailed(f"importing the plugin raised {answer['error']}")
    return dict(answer)
