"""Requests that come at the same time share a batch: one call of the network for all of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class Batcher(Generic[Asked, Given]):
    """Collects what is asked while a batch is worked on into the next one. How much may wait is the caller's matter."""

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Given | Exception]], *, most: int, wait_s: float
    ) -> None:
        """Set it up; `run` makes it work.

        Args:
            work: what is done with a batch, in a thread: a result, or an error to raise, for each that asked.
            most: how many go together.
            wait_s: how long the first of a batch waits for others.
        """
        self._work, self._most, self._wait_s = work, most, wait_s
        self._queue: asyncio.Queue[tuple[Asked, asyncio.Future[Given]]] = asyncio.Queue()
        self.sizes: Callable[[int], None] = lambda _: None

    async def ask(self, asked: Asked) -> Given:
        """The result for one; an error that `work` gave for it is raised."""
        future: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((asked, future))
        return await future

    @property
    def waiting(self) -> int:
        """How many wait for a batch."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch") as thread:
            while True:
                batch = await self._next()
                if not batch:
                    continue
                self.sizes(len(batch))
                try:
                    results = await loop.run_in_executor(thread, self._work, [asked for asked, _ in batch])
                except Exception as error:  # noqa: BLE001  # it belongs to those who asked, and the next batch goes on
                    results = [error] * len(batch)
                for (_, future), result in zip(batch, results, strict=True):
                    _settle(future, result)

    async def _next(self) -> list[tuple[Asked, asyncio.Future[Given]]]:
        """What goes together next: without those that nobody waits for any more."""
        batch = [await self._queue.get()]
        if self._queue.qsize() < self._most - 1:
            await asyncio.sleep(self._wait_s)
        with suppress(asyncio.QueueEmpty):
            while len(batch) < self._most:
                batch.append(self._queue.get_nowait())
        return [(asked, future) for asked, future in batch if not future.done()]


def _settle(future: asyncio.Future[Given], result: Given | Exception) -> None:
    if future.done():
        return  # whoever asked has gone
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
