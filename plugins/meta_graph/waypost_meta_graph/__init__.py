"""What Waypost's three Meta channels share: the Graph, its errors, its webhooks and the frame of its simulators."""

from waypost_meta_graph.client import Graph, health, raise_graph_error
from waypost_meta_graph.errors import ErrorKey, ErrorRow, ErrorTable, GraphError, graph_error
from waypost_meta_graph.identity import event_id, piece_digest, piece_id
from waypost_meta_graph.settings import GraphAccountSettings, MetaAppSettings
from waypost_meta_graph.webhooks import entries, recognized, unknown, verify

__all__ = [
    "ErrorKey",
    "ErrorRow",
    "ErrorTable",
    "Graph",
    "GraphAccountSettings",
    "GraphError",
    "MetaAppSettings",
    "entries",
    "event_id",
    "graph_error",
    "health",
    "piece_digest",
    "piece_id",
    "raise_graph_error",
    "recognized",
    "unknown",
    "verify",
]
