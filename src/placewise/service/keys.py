"""Keys of callers: 256 random bits each, of which a file holds the hashes.

A slow hash would protect guessable passwords; of 256 random bits nobody guesses one, so SHA-256 is enough. A key is
compared with all that are known, each in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from placewise.errors import OptionError
from placewise.files import write_atomically
from placewise.service.settings import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX = "pw_"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its file holds it.

    Attributes:
        name: who uses it; the log says so.
        scope: what it allows.
        sha256: the hash of the key, hexadecimal.
        made: when, in UTC.
    """

    name: str
    scope: Scope
    sha256: str
    made: str


def new_key(path: Path, *, name: str, scope: Scope) -> str:
    """Make a key, add its hash to the file, which only its owner may read, and return the key: nobody sees it again.

    Raises:
        OptionError: if the name is taken or the file cannot be read or written.
    """
    keys = read_keys(path) if path.exists() else ()
    if not name or not name.isprintable() or any(key.name == name for key in keys):
        message = f"a key must have a name of its own that can be shown, got {name!r}; give another one with --name"
        raise OptionError(message)
    token = _PREFIX + secrets.token_urlsafe(32)
    key = Key(name, scope, _hash(token), datetime.now(UTC).isoformat(timespec="seconds"))
    _write(path, (*keys, key))
    return token


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of the file.

    Raises:
        OptionError: if there is none of that name, or the file cannot be read or written.
    """
    keys = read_keys(path)
    left = tuple(key for key in keys if key.name != name)
    if len(left) == len(keys):
        message = f"a key to revoke must be one of {path}, got {name!r}; 'placewise keys list' names them"
        raise OptionError(message)
    _write(path, left)


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        OptionError: if it cannot be read, or holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        message = f"the file of keys must be readable, got {path}: {reason}; make it with 'placewise keys new'"
        raise OptionError(message) from error
    return tuple(_key(line, path, number) for number, line in enumerate(lines, 1) if line.strip())


def _key(line: str, path: Path, number: int) -> Key:
    try:
        key = Key(**json.loads(line))
        if key.scope not in get_args(Scope) or len(bytes.fromhex(key.sha256)) != 32:
            raise ValueError
    except (TypeError, ValueError) as error:
        message = f"a file of keys must be written by 'placewise keys new', got something else in {path}, line {number}"
        raise OptionError(message) from error
    return key


def _write(path: Path, keys: Sequence[Key]) -> None:
    try:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        write_atomically(path, "".join(json.dumps(asdict(key)) + "\n" for key in keys).encode())
        path.chmod(0o600)
    except OSError as error:
        message = f"the file of keys must be writable, got {path}: {error.strerror}; name another one with --keys"
        raise OptionError(message) from error


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


_UNREAD = (0, 0, 0)
"""The state of no file."""


class KeyRing:
    """The keys that are accepted; without a file, none."""

    def __init__(self, path: Path | None) -> None:
        """Read the file.

        Raises:
            OptionError: if it cannot be read, or holds something else.
        """
        self._path = path
        self._stamp = self._state()
        self._keys = read_keys(path) if path else ()

    def find(self, token: str) -> Key | None:
        """The key that a caller has shown, or None. It takes the same time whichever it is."""
        digest, found = _hash(token), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.sha256):
                found = key
        return found

    def renew(self) -> bool:
        """Read the file again if it has changed; returns whether it has.

        Raises:
            OptionError: if it cannot be read any more; then no key is accepted until it can.
        """
        stamp = self._state()
        if self._path is None or stamp == self._stamp:
            return False
        self._keys, self._stamp = (), _UNREAD  # while it is away or damaged nobody knows whom it has revoked
        self._keys, self._stamp = read_keys(self._path), stamp
        return True

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat() if self._path else None
        except OSError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns) if status else None
