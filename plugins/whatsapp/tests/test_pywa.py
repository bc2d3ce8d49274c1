"""A public client of the Cloud API speaks to the simulator: it is not only our own plugin that finds it plausible."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

pywa = pytest.importorskip("pywa")
httpx = pytest.importorskip("httpx")


async def test_pywa_sends_a_text(provider: Any) -> None:
    simulator = provider.simulator

    def send() -> str:
        with httpx.Client() as client:
            whatsapp = pywa.WhatsApp(phone_id=simulator.phone_number_id, token=simulator.access_token, session=client)
            # pywa writes Meta's address into the client it is given; point it back.
            client.base_url = f"{simulator.base_url}/v25.0"
            sent = whatsapp.send_message(to="16505550143", text="from pywa", tracker="att_9")
            return str(sent.id)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message_id = await asyncio.to_thread(send)
    await simulator.settle()
    (entry,) = simulator.journal
    assert (entry.provider_id, entry.recipient, entry.correlation) == (message_id, "+16505550143", "att_9")
    assert entry.fields["text"]["body"] == "from pywa"
    assert {event.provider_id for event in provider.events()} == {message_id}


async def test_pywa_reads_a_refusal(provider: Any) -> None:
    simulator = provider.simulator
    from pywa.errors import MessageUndeliverable

    def send() -> None:
        with httpx.Client() as client:
            whatsapp = pywa.WhatsApp(phone_id=simulator.phone_number_id, token=simulator.access_token, session=client)
            client.base_url = f"{simulator.base_url}/v25.0"
            whatsapp.send_message(to="+15550100010", text="x")

    with pytest.raises(MessageUndeliverable):
        await asyncio.to_thread(send)
