"""The SQLite files that Placewise keeps (gallery, cache): opening them, telling ours from others, mapping errors."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from placewise.errors import StoreError

BUSY_TIMEOUT_S = 10.0

_PAGE_BYTES = 16384
"""Rows of 1 to 8 KB fill such pages to nine tenths; in SQLite's own 4 KB every second page would be half empty."""

_CACHE_KIB = 32768

_HINTS = {
    "locked": "another process is writing it; try again when that has ended",
    "full": "free some space and start again: what was committed is kept",
    "user-defined": "the file is damaged; restore a copy or make it anew",
    "readonly": "it can be read but not written here; check its permissions and those of its folder",
}
"""What SQLite says → what to do."""


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file: its words for messages, its marks inside the file, its tables and its errors."""

    noun: str
    """With its article: it starts sentences and ends them."""
    application_id: int
    version: int
    schema: str
    error: type[StoreError]
    migrations: Mapping[int, str] = field(default_factory=dict)
    """Older version → the statements that make the next version of it. They may call ``crc32(blob)``."""


class Store:
    """One open SQLite file of a known format. Threads may share it: a lock lets one at a time in."""

    def __init__(self, path: Path, kind: Format, *, create: bool) -> None:
        """Open the file, or ``create`` it where it is not there. Where it cannot be written it can still be read.

        A file of an older version is brought to the present one, in one transaction.

        Raises:
            StoreError: the format's own error, if the file is missing, foreign, damaged, newer or locked.
        """
        self.path = path
        self._kind = kind
        self._wal = False
        self._depth = 0
        # SQLite would serialise the calls, but not Python's handling of a statement that several threads run: from
        # Python 3.12 on, they can get each other's rows.
        self._lock = threading.RLock()
        if not create and not path.is_file():
            message = f"{kind.noun} must exist, got no file at {path}; correct the path or make it first"
            raise kind.error(message)
        with self._mapped():
            self._db = self._connect(f"mode={'rwc' if create else 'rw'}")
        try:
            with self._mapped():
                self._db = self._readable(self._db)
                self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")  # it reads the file
                self._verify(may_create=create)
        except BaseException:
            self._db.close()
            raise

    def _connect(self, how: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self.path.resolve().as_uri()}?{how}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _readable(self, db: sqlite3.Connection) -> sqlite3.Connection:
        """The connection, or one that reads a killed writer's file where no companion files can be made beside it."""
        try:
            db.execute("PRAGMA application_id").fetchone()
        except sqlite3.OperationalError as error:
            log = self.path.with_name(f"{self.path.name}-wal")
            unwritable = error.sqlite_errorname in {"SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY"}
            if not unwritable or not self.path.is_file() or log.exists():
                raise
            db.close()
            return self._connect("mode=ro&immutable=1")
        return db

    def _verify(self, *, may_create: bool) -> None:
        if may_create and self._is_new():
            self._create()
        kind = self._kind
        if self._pragma("application_id") != kind.application_id:
            what = "an empty file" if self._is_new() else "another program's file"
            message = f"{self.path} must be {kind.noun}, got {what}; name another one"
            raise kind.error(message)
        version = self._pragma("user_version")
        if version in kind.migrations:
            self._migrate()
        elif version != kind.version:
            message = (
                f"{self.path} must have format {kind.version}, got format {version}; "
                f"use the version of placewise that wrote it"
            )
            raise kind.error(message)

    def _pragma(self, name: str) -> int:
        ((value,),) = self._db.execute(f"PRAGMA {name}").fetchall()
        return int(value)

    def _is_new(self) -> bool:
        ((tables,),) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        return bool(tables == 0 and self._pragma("application_id") == 0)

    def _create(self) -> None:
        # Both take effect only before the first table. The second lets a file shrink when photos are removed.
        self._db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        with self.transaction():
            if self._is_new():  # still, now that no other process can be making it
                self._run(self._kind.schema)
                self._db.execute(f"PRAGMA application_id = {self._kind.application_id}")
                self._db.execute(f"PRAGMA user_version = {self._kind.version}")

    def _migrate(self) -> None:
        self.function("crc32", 1, zlib.crc32)
        # Not in WAL: turning that on is not undone when the migration fails, and the file must stay as it was.
        with self._block("IMMEDIATE"):
            while (version := self._pragma("user_version")) in self._kind.migrations:
                self._run(self._kind.migrations[version])
                self._db.execute(f"PRAGMA user_version = {version + 1}")

    def _run(self, statements: str) -> None:
        for statement in statements.split(";"):
            self._db.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what is written inside is on the disk when the outermost such block ends, or never was."""
        with self._lock, self._mapped():
            if self._depth == 0 and not self._wal:
                # WAL is what lets readers go on while a batch is written. It is turned on by the first write and not
                # by opening, so that a file that is only looked at, or refused, stays as it was.
                self._db.execute("PRAGMA main.journal_mode = WAL")
                self._wal = True
            with self._block("IMMEDIATE"):
                yield
            if self._depth == 0:
                # Into the file itself, so that a copy of it holds the batch even if this process is killed later.
                with suppress(sqlite3.OperationalError):  # no space: the batch is in the log, and the next one tries
                    self._db.execute("PRAGMA main.wal_checkpoint(PASSIVE)").fetchall()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent state of the file for all that is read inside, whatever others write meanwhile."""
        with self._lock, self._mapped(), self._block("DEFERRED"):
            yield

    @contextmanager
    def _block(self, kind: str) -> Iterator[None]:
        """A transaction, or a part of the one that is open."""
        if self._depth == 0:
            self._db.execute(f"BEGIN {kind}")
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self._db.execute("COMMIT")
        except BaseException:
            if self._depth == 1 and self._db.in_transaction:  # a full disk may have rolled it back already
                self._db.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and fetch all its rows."""
        with self._lock, self._mapped():
            return self._db.execute(sql, values).fetchall()

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> int:
        """Run one statement for each row of values; returns how many rows of the file it changed in all."""
        with self._lock, self._mapped():
            return self._db.executemany(sql, rows).rowcount

    def blocks(self, sql: str, size: int, values: Sequence[object] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of one statement, up to ``size`` at a time. Inside `reading`, so that they are of one state."""
        with self._lock, self._mapped():
            cursor = self._db.execute(sql, values)
            while rows := cursor.fetchmany(size):
                yield rows

    @contextmanager
    def attached(self, path: Path, name: str) -> Iterator[None]:
        """Another file of the same format under a name for the statements inside; it is only read."""
        with self._lock, self._mapped():
            self._db.execute(f"ATTACH ? AS {name}", (f"{path.resolve().as_uri()}?mode=ro",))
            try:
                yield
            finally:
                self._db.execute(f"DETACH {name}")

    def function(self, name: str, arguments: int, function: Callable[..., bytes | int]) -> None:
        """Let statements call a Python function, which must depend on its arguments only."""
        self._db.create_function(name, arguments, function, deterministic=True)

    def shrink(self) -> None:
        """Give the pages that removed rows have left back to the file system."""
        with self._lock, self._mapped():
            if self._depth:
                return  # inside a transaction they can be used again, but not given back
            with suppress(sqlite3.OperationalError):  # no space: the rows are gone all the same
                # It ends after one page where it is not run as a script: each page is a row, of no columns.
                self._db.executescript("PRAGMA incremental_vacuum")
                self._db.execute("PRAGMA main.wal_checkpoint(PASSIVE)").fetchall()

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file's structure, and references to rows that are not there."""
        found = [str(row[0]) for row in self.execute("PRAGMA integrity_check(10)")]
        found += [
            f"row {row} of {table} belongs to no row of {of}"
            for table, row, of, _ in self.execute("PRAGMA foreign_key_check")[:10]
        ]
        return [fault for fault in found if fault != "ok"]

    def close(self) -> None:
        """Close the file, after what other threads are reading or writing; the last connection leaves one file."""
        with self._lock:  # SQLite would crash the process if it were closed under a statement
            if self._wal:
                # Outside WAL the file also opens in a read-only folder. Where another connection needs it, it stays.
                with suppress(sqlite3.Error):
                    self._db.execute("PRAGMA busy_timeout = 0")
                    self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Turn SQLite's errors into the format's own, in one line that says what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # of a damaged file, even the message can be
            text = " ".join(str(error).split())
            if text.startswith("Could not decode"):  # … and then comes the text
                error, text = sqlite3.DatabaseError(), "a text in it is damaged"
            hint = next((hint for word, hint in _HINTS.items() if word in text), None)
            if hint is None and isinstance(error, sqlite3.OperationalError):
                hint = "check the folder, its permissions and the free space"
            elif hint is None:
                hint = "the file is damaged or of another kind; restore a copy or make it anew"
            message = f"{self._kind.noun} {self.path} cannot be used: {text}; {hint}"
            raise self._kind.error(message) from error
