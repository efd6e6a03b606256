"""What the requests of one service share: the gallery, the keys, the limits, and the threads that work for them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from placewise.machine import usable_cores
from placewise.service import logs
from placewise.service.batching import Batcher
from placewise.service.keys import KeyRing
from placewise.service.limits import Rates, Share
from placewise.service.metrics_page import Metrics
from placewise.service.problems import busy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from placewise.service.desk import Desk, Match, Query, Question, Reply
    from placewise.service.settings import Settings

A = TypeVar("A")
T = TypeVar("T")

_BODIES_BYTES = 256 * 10**6
"""What the bodies of all requests may take of memory until they are answered."""


class State:
    """One service: everything in it belongs to the thread of the event loop, but for `desk`."""

    def __init__(self, settings: Settings, desk: Desk) -> None:
        """Read the keys.

        Raises:
            OptionError: if they cannot be read.
        """
        self.settings, self.desk = settings, desk
        self.keys = KeyRing(settings.keys)
        self.rates = Rates(settings.rate_per_s)
        self.photos = Share(
            settings.queue,
            detail=f"at most {settings.queue} photos are worked on at a time, and so many are; try again",
        )
        self.memory = Share(
            max(_BODIES_BYTES, settings.max_body_bytes), detail="the bodies that arrive fill the memory; try again"
        )
        self.calibrations = Share(1, detail="one calibration is made at a time, and one is being made; try again")
        self._batcher: Batcher[tuple[Query, Question | None], Reply] = Batcher(
            desk.reply, most=settings.batch, wait_s=settings.batch_wait_ms / 1000
        )
        self.metrics = Metrics(waiting=lambda: self.photos.taken)
        self._batcher.sizes = self.metrics.batches.observe
        self._decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._follower = ThreadPoolExecutor(1, thread_name_prefix="follow")
        self.troubles: dict[str, str] = {}
        self.followed = {"gallery": self._follow_gallery, "keys": self._follow_keys}

    async def decode(self, work: Callable[[A], T], data: A) -> T:
        """Do something with a photo, in as many threads as there are cores."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work, data)

    async def write(self, work: Callable[[], T]) -> T:
        """Change the gallery, one after the other. What has begun is finished even if nobody waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def _follow_gallery(self) -> None:
        """Take in what other processes have written to the gallery; what cannot be taken in changes nothing."""
        if await asyncio.get_running_loop().run_in_executor(self._follower, self.desk.refresh):
            self.metrics.reloads.inc()
            logs.events.info("the gallery has changed and was taken in")

    async def _follow_keys(self) -> None:
        """Likewise to the keys, of which none is accepted while they cannot be read."""
        if await asyncio.get_running_loop().run_in_executor(self._follower, self.keys.renew):
            logs.events.info("the keys have changed and were taken in")

    async def reply(self, data: bytes, question: Question | None) -> tuple[Query, Reply]:
        """Decode a photo, embed it together with others that came at the same time, and answer.

        To verify hits takes longer than to embed: that is done beside the batches, so that nobody else waits for it.

        Raises:
            Problem: 503, if that takes too long.
            PlacewiseError: if the photo or the question is at fault.
        """
        async with self._in_time():
            query = await self.decode(partial(self.desk.read, question=question), data)
            beside = None if query.features is None else question  # a photo without texture has features, none of them
            reply = await self._batcher.ask((query, None if beside else question))
            if beside:
                reply = await self.decode(partial(self.desk.answer, query, reply.embedding), beside)
            return query, reply

    async def match(self, number: int, data: bytes, hits: int | None) -> Match | None:
        """What geometry says of a photo and one of the gallery's; see `Desk.match`.

        Raises:
            Problem: 503, if that takes too long.
        """
        async with self._in_time():
            return await self.decode(partial(self.desk.match, number, hits=hits), data)

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                yield
        except TimeoutError as error:
            message = f"an answer must be found within {self.settings.timeout_s:g} s, and was not; try again"
            raise busy(message, kind="timeout") from error

    async def run(self) -> None:
        """Work on batches until cancelled."""
        await self._batcher.run()

    def close(self) -> None:
        """Finish what is being read and written, and close the gallery."""
        for threads in (self._follower, self._decoders):
            threads.shutdown(cancel_futures=True)
        self._writer.shutdown()
        self.desk.close()
