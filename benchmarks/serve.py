"""The service under load against the bare pipeline: the same photos of 1 megapixel, in turns, on the same machine.

    python benchmarks/serve.py [FOLDER] [--seconds 60] [--requests 10000] [--overload 128]

FOLDER holds photos; without one, a synthetic town with photos of 1 megapixel is rendered. The service runs in a process
of its own; 32 clients in this one send one photo after the other over connections that stay open. Their work is on the
same cores. The bare pipeline is `Locator.locate_many` on the same photos, in another process, before and after.

Reported: photos a second of both and their ratio, the processor's time for a photo, statuses, latency at the 50th and
99th percentile, the memory of the service's process (resident, from /proc) over the number of requests, and what
becomes of more clients than the queue takes, each of which waits a second where it is told to come again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import count, cycle
from pathlib import Path

import numpy as np

from placewise.gallery import Gallery
from placewise.sources import read_source
from placewise.town import render_town

CLIENTS = 32
WARM_UP = 200
OVERLOAD_S = 15
BUSY, CLOSED = 503, 0


class Clients:
    """32 of them, what they were answered and how long it took."""

    def __init__(self, url: str, photos: list[bytes], pid: int) -> None:
        self.host, port = url.removeprefix("http://").split(":")
        self.port, self.pid = int(port), pid
        head = "POST /v1/locate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: "
        self.photos = cycle([f"{head}{len(photo)}\r\n\r\n".encode() + photo for photo in photos])
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.memory: list[tuple[int, float]] = []

    async def run(self, *, seconds: float = float("inf"), requests: int = sys.maxsize, clients: int = CLIENTS) -> float:
        """Ask until the time or the number is reached; returns photos answered a second."""
        began, numbers = time.perf_counter(), count()

        async def client() -> None:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            while time.perf_counter() - began < seconds and (number := next(numbers)) < requests:
                asked = time.perf_counter()
                writer.write(next(self.photos))
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:  # closed while this client was slow to ask again
                    self.statuses[CLOSED] += 1
                    reader, writer = await asyncio.open_connection(self.host, self.port)
                    continue
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.seconds.append(time.perf_counter() - asked)
                self.statuses[status := int(head.split()[1])] += 1
                if status == BUSY:
                    await asyncio.sleep(1)
                if number % 500 == 0:
                    self.memory.append((number, resident_mb(self.pid)))
            writer.close()

        before = self.statuses[200]
        await asyncio.gather(*(client() for _ in range(clients)))
        return (self.statuses[200] - before) / (time.perf_counter() - began)


def resident_mb(pid: int) -> float:
    """The memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


def worked_s(pid: int) -> float:
    """The processor's seconds that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


BARE = """
import sys, time
from pathlib import Path
from placewise.gallery import Gallery
photos = sorted(Path(sys.argv[2]).rglob("*.jpg"))
many = (photos * (int(sys.argv[3]) // len(photos) + 1))[:int(sys.argv[3])]
with Gallery.open(sys.argv[1]) as gallery:
    gallery.locate_many(many[:64])
    began, worked = time.perf_counter(), time.process_time()
    answers, failures = gallery.locate_many(many)
    print(len(answers) / (time.perf_counter() - began), (time.process_time() - worked) / len(answers) * 1000)
"""


def bare(gallery: Path, photos: Path, number: int = 400) -> tuple[float, float]:
    """Photos a second of the library, and milliseconds of the processor for each."""
    command = [sys.executable, "-c", BARE, str(gallery), str(photos), str(number)]
    rate, work_ms = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(rate), float(work_ms)


def main() -> None:
    """Render, index, measure, print."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", nargs="?", type=Path)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--overload", type=int, default=128)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, gallery = given.folder or Path(name) / "town", Path(name) / "town.gallery"
        if given.folder is None:
            render_town(folder, seed=0, places=20, unknown_places=4, gallery_views=4, query_views=2, size=(1152, 864))
        with Gallery.open_for(gallery) as opened:
            opened.add(read_source(folder))
        photos = [photo.read_bytes() for photo in sorted(folder.rglob("*.jpg"))]
        print(f"{len(photos)} photos of {np.mean([len(photo) for photo in photos]) / 1e3:.0f} kB, {CLIENTS} clients")
        before = bare(gallery, folder)
        command = [sys.executable, "-m", "placewise", "serve", "--gallery", str(gallery), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
            try:
                assert service.stdout is not None  # noqa: S101  # it is a pipe
                clients = Clients(service.stdout.readline().strip(), photos, service.pid)
                asyncio.run(clients.run(requests=WARM_UP))
                clients.seconds.clear()
                worked = worked_s(service.pid)
                rate = asyncio.run(clients.run(seconds=given.seconds))
                work_ms = (worked_s(service.pid) - worked) / len(clients.seconds) * 1000
                latency = np.percentile(np.array(clients.seconds) * 1000, [50, 99])
                after = bare_beside(service, gallery, folder)
                clients.memory.clear()
                asyncio.run(clients.run(requests=given.requests))
                within = dict(clients.statuses)
                clients.statuses.clear()
                held = [mb for _, mb in clients.memory]
                answered = asyncio.run(clients.run(seconds=OVERLOAD_S, clients=given.overload))
            finally:
                service.terminate()
        for when, (photos_per_s, bare_ms) in (("before", before), ("after", after)):
            print(f"bare pipeline   {photos_per_s:.1f} photos/s {when}, {bare_ms:.1f} ms of the processor for each")
        share = rate / np.mean([before[0], after[0]])
        spent = f"{work_ms:.1f} ms of the processor for each"
        print(f"service         {rate:.1f} photos/s over {given.seconds:.0f} s, {share:.2f} of the speed, {spent}")
        print(f"latency         p50 {latency[0]:.0f} ms, p99 {latency[1]:.0f} ms")
        print(f"statuses        {within} in all, exit code {service.returncode}")
        print(f"overload        {given.overload} clients: {dict(clients.statuses)}, {answered:.1f} photos/s answered")
        span = f"{min(held):.0f} to {max(held):.0f} MB, {held[-1]:.0f} MB at last, over {given.requests} requests"
        print(f"memory          {held[0]:.0f} MB at first, {span}")


def bare_beside(service: subprocess.Popen[str], gallery: Path, folder: Path) -> tuple[float, float]:
    """The bare pipeline once more, while the service is idle."""
    if service.poll() is not None:
        sys.exit(f"the service ended with {service.returncode}")
    return bare(gallery, folder)


if __name__ == "__main__":
    main()
