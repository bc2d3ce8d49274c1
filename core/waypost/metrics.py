"""Metrics for Prometheus. Labels are names of ours (channels, gateways' ids, codes), never a partner's data."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One node's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "waypost_messages_accepted_total", "Messages accepted.", ["channel"], registry=self.registry
        )
        self.refused = Counter(
            "waypost_messages_refused_total", "Messages refused, by code.", ["code"], registry=self.registry
        )
        self.batches = Histogram(
            "waypost_admission_batch_size",
            "Messages that shared one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=self.registry,
        )
        self.sends = Histogram(
            "waypost_send_seconds",
            "How long providers took, by outcome.",
            ["gateway", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.statuses = Counter(
            "waypost_status_changes_total", "Messages that came to a status.", ["status"], registry=self.registry
        )
        self.uncollected = Counter(
            "waypost_charges_uncollected_total", "Late charges for which no credit was left.", registry=self.registry
        )
        self.webhooks = Counter(
            "waypost_webhooks_total", "Provider webhooks, by verdict.", ["plugin", "verdict"], registry=self.registry
        )
        self.inbound = Counter(
            "waypost_inbound_messages_total", "Inbound messages stored.", ["channel"], registry=self.registry
        )
        self.queued = Gauge("waypost_queue_length", "Steps waiting in a queue.", ["gateway"], registry=self.registry)
        self.in_flight = Gauge("waypost_sends_in_flight", "Sends under way.", ["gateway"], registry=self.registry)
        self.breaker = Gauge(
            "waypost_breaker_open", "1 while a gateway's breaker is not closed.", ["gateway"], registry=self.registry
        )
        self.listening = Gauge(
            "waypost_listening", "1 while this node holds a gateway's connection.", ["gateway"], registry=self.registry
        )
        self.gateway_active = Gauge(
            "waypost_gateway_active", "1 while a gateway is active and its credentials can be used.", ["gateway"],
            registry=self.registry,
        )  # fmt: skip
        self.store_up = Gauge(
            "waypost_store_up", "1 while the database answers and stores; without it queue lengths are not known.",
            registry=self.registry,
        )  # fmt: skip
        self.plugin_loaded = Gauge(
            "waypost_plugin_loaded", "1 for a loaded plugin, 0 with its state otherwise.", ["plugin", "state"],
            registry=self.registry,
        )  # fmt: skip
        self.plugin_blocks = Counter(
            "waypost_plugin_blocks_total", "Times that a plugin blocked the event loop.", ["plugin"],
            registry=self.registry,
        )  # fmt: skip
        self.plugin_abandoned = Counter(
            "waypost_plugin_abandoned_total", "Hooks that did not end when they were canceled.", ["plugin"],
            registry=self.registry,
        )  # fmt: skip
        self.loop_lag = Histogram(
            "waypost_event_loop_lag_seconds",
            "How late the event loop ran its heartbeat.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def moved(self, statuses: Iterable[str]) -> None:
        """Count messages that came to these statuses."""
        for status in statuses:
            self.statuses.labels(status).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
