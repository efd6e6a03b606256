"""What can be set: one value for each flag of ``placewise serve`` and each variable ``PLACEWISE_…``."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from placewise.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

Scope = Literal["read", "write"]
"""What a caller may do; who may write may also read."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service runs.

    Attributes:
        gallery: the gallery file.
        keys: the file of the keys that are accepted; None for none.
        allow_anyone: what callers without a key may do; None leaves it to ``anyone``.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        max_body_mb: the largest body of a request, in megabytes of 10**6 bytes.
        max_megapixels: the largest photo, in 10**6 pixels.
        max_images: photos in one request.
        queue: photos that are worked on or wait at a time; beyond them the answer is 503.
        batch: photos that the network sees at a time.
        batch_wait_ms: how long a photo waits for others to share a batch with.
        timeout_s: within what a photo is answered once it has arrived.
        upload_timeout_s: within what a body arrives.
        header_timeout_s: within what the head of a request arrives, and how long an idle connection is kept.
        grace_s: how long a stop waits for requests that were begun.
        rate_per_s: requests a second of one key, with twice as many at once; 0 sets no limit.
        reload_s: how often to look whether another process has changed the gallery or the keys.
        connections: connections at a time.
    """

    gallery: Path
    keys: Path | None = None
    allow_anyone: Scope | None = None
    host: str = "127.0.0.1"
    port: int = 8750
    max_body_mb: float = 20.0
    max_megapixels: float = 100.0
    max_images: int = 16
    queue: int = 64
    batch: int = 16
    batch_wait_ms: float = 2.0
    timeout_s: float = 30.0
    upload_timeout_s: float = 30.0
    header_timeout_s: float = 10.0
    grace_s: float = 20.0
    rate_per_s: float = 50.0
    reload_s: float = 1.0
    connections: int = 512

    def __post_init__(self) -> None:
        """Refuse what would lay the gallery open, and what cannot work."""
        if self.anyone == "read" and self.allow_anyone is None and not self.is_loopback:
            message = (
                f"the address must be of this machine only where no key is asked for, got {self.host}; "
                f"make a key with 'placewise keys new --keys FILE' and give --keys FILE, or --allow-anyone read"
            )
            raise OptionError(message)
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                message = f"--{name.replace('_', '-')} must be a finite number, got {value}; leave it out"
                raise OptionError(message)
        if self.queue < self.max_images:
            message = f"--queue must be at least --max-images, got {self.queue} and {self.max_images}; set it higher"
            raise OptionError(message)

    @property
    def anyone(self) -> Scope | None:
        """What callers without a key may do: read where no keys are asked for, nothing where they are."""
        return self.allow_anyone or ("read" if self.keys is None else None)

    @property
    def local_names(self) -> frozenset[str]:
        """What a request may call this machine where only it can ask."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset({"localhost", "127.0.0.1", "[::1]", own})

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_body_bytes(self) -> int:
        """The largest body of a request."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_pixels(self) -> int:
        """The largest photo."""
        return int(self.max_megapixels * 1e6)
