"""The SQLite files that Placewise keeps (gallery, cache): opening them, telling ours from others, mapping errors."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from placewise.errors import StoreError

BUSY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file: its words for messages, its marks inside the file, its tables and its errors."""

    noun: str
    """With its article: it starts sentences and ends them."""
    application_id: int
    version: int
    schema: str
    error: type[StoreError]


class Store:
    """One open SQLite file of a known format. Threads may share it: a lock lets one at a time in."""

    def __init__(self, path: Path, kind: Format, *, write: bool) -> None:
        """Open the file to read it, or to ``write`` it, which makes it where it is not there.

        Raises:
            StoreError: the format's own error, if the file is missing, foreign, damaged, newer or locked.
        """
        self.path = path
        self._kind = kind
        self._wal = False
        # SQLite would serialise the calls, but not Python's handling of a statement that several threads run: from
        # Python 3.12 on, they can get each other's rows.
        self._lock = threading.RLock()
        if not write and not path.is_file():
            message = f"{kind.noun} must exist, got no file at {path}; correct the path or make it first"
            raise kind.error(message)
        address = f"{path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        with self._mapped():
            self._db = sqlite3.connect(
                address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._mapped():
                self._verify(may_create=write)
        except BaseException:
            self._db.close()
            raise

    def _verify(self, *, may_create: bool) -> None:
        if may_create and self._is_new():
            self._create()
        kind = self._kind
        (application_id,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if application_id != kind.application_id:
            message = f"{self.path} must be {kind.noun}, got another program's file; name another one"
            raise kind.error(message)
        if version != kind.version:
            message = (
                f"{self.path} must have format {kind.version}, got format {version}; "
                f"use the version of placewise that wrote it"
            )
            raise kind.error(message)

    def _is_new(self) -> bool:
        ((tables,),) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        ((application_id,),) = self._db.execute("PRAGMA application_id").fetchall()
        return bool(tables == 0 and application_id == 0)

    def _create(self) -> None:
        with self.transaction():
            if self._is_new():  # still, now that no other process can be making it
                for statement in self._kind.schema.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {self._kind.application_id}")
                self._db.execute(f"PRAGMA user_version = {self._kind.version}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what is written inside is on the disk when the block ends, or never was."""
        with self._lock, self._mapped():
            if not self._wal:
                # WAL is what lets readers go on while a batch is written. It is turned on by the first write and not
                # by opening, so that a file that is only looked at, or refused, stays as it was.
                self._db.execute("PRAGMA journal_mode = WAL")
                self._wal = True
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            # Into the file itself, so that a copy of it holds the batch even if this process is killed later.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and fetch all its rows."""
        with self._lock, self._mapped():
            return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file; with the last connection, leave one file without companions."""
        if self._wal:
            # Outside WAL the file also opens in a read-only folder. Where another connection still needs it, it stays.
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA busy_timeout = 0")
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Turn SQLite's errors into the format's own, in one line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            if "locked" in text:
                hint = "another process is writing it; try again when that has ended"
            elif isinstance(error, sqlite3.OperationalError):
                hint = "check the folder, its permissions and the free space"
            else:
                hint = "the file is damaged or of another kind; restore a copy or make it anew"
            message = f"{self._kind.noun} {self.path} cannot be used: {text}; {hint}"
            raise self._kind.error(message) from error
