"""What is counted, in the text format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE"})


class Metrics:
    """The counters of one service. Labels have few values: no path or name that a client invents becomes one."""

    def __init__(self, *, waiting: Callable[[], float]) -> None:
        """``waiting`` tells how many photos are worked on or wait."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "placewise_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "placewise_request_seconds",
            "From the head of a request to its answer.",
            ("route",),
            registry=self._registry,
        )
        self.batches = Histogram(
            "placewise_batch_photos",
            "Photos that the network saw together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self.reloads = Counter(
            "placewise_reloads", "Changes of the gallery that were taken in.", registry=self._registry
        )
        self.connections = Gauge("placewise_connections", "Connections that are open.", registry=self._registry)
        Gauge("placewise_photos_in_work", "Photos worked on or waiting.", registry=self._registry).set_function(waiting)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
