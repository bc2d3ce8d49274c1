"""Run the simulator by itself: `python -m waypost_sms_twilio.simulator --port N --journal FILE`.

It prints one JSON line with its address and settings as soon as it listens, and appends every message-creating
request to the journal as one JSON line before it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence

from waypost_sms_twilio.simulator import TwilioSimulator, TwilioWhatsAppSimulator


async def _serve(arguments: argparse.Namespace) -> None:
    simulator = TwilioWhatsAppSimulator() if arguments.channel == "whatsapp" else TwilioSimulator()
    simulator.delay = arguments.delay
    simulator.webhook_url = simulator.inbound_url = arguments.webhook_url
    if arguments.journal:
        simulator.journal_file = os.open(arguments.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    url = await simulator.start(port=arguments.port)
    ready = {"url": url, "account_settings": simulator.account_settings(), "senders": simulator.senders()}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulator by itself until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m waypost_sms_twilio.simulator", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port on loopback; a free one by default")
    parser.add_argument("--journal", help="append every message-creating request to this file, one JSON line each")
    parser.add_argument("--channel", choices=("sms", "whatsapp"), default="sms")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each receipt")
    parser.add_argument("--webhook-url", default="", help="where webhooks go that no message names a callback for")
    try:
        asyncio.run(_serve(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
