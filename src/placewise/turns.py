"""Locks: for many readers or one writer, and for a share of something that is limited."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turns:
    """Readers go together, a writer goes alone; a waiting writer goes before readers that come later."""

    def __init__(self) -> None:
        """Start with nobody inside."""
        self._changed = threading.Condition()
        self._readers = 0
        self._waiting = 0
        self._writer = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Be inside with other readers; not to be nested."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writer and not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be inside alone; not to be nested."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._writer and not self._readers)
                self._writer = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writer = False
                self._changed.notify_all()


class Budget:
    """Something limited that threads share: who needs more than is left waits until others are done."""

    def __init__(self) -> None:
        """Start with nothing taken."""
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def taken(self, count: int, *, of: int) -> Iterator[None]:
        """Hold a part of the limit; who needs all of it, or more, is alone. Not to be nested."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + count <= of)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()
