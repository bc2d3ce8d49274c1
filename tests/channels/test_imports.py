"""What a gateway in production imports of our channels: not the simulators of their providers."""

from __future__ import annotations

import subprocess
import sys

_LOAD = """
import sys
from waypost.host.loader import load_channels

records = load_channels(load_channels(()))
assert {record.state for record in records.values()} == {"loaded"}, records
print(*sorted(name for name in sys.modules if "simulator" in name and not name.startswith("waypost.plugin.")))
"""


def test_no_channel_loads_its_simulator_with_itself() -> None:
    done = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
