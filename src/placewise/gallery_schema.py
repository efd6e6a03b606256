"""The tables of a gallery file, how an older one becomes a present one, its settings, and its model card as text.

docs/gallery-format.md describes them for other programs.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from placewise.core import InputRule, ModelCard, Views
from placewise.errors import GalleryError
from placewise.stack import Verify, stack_from_json
from placewise.store import Format

_TABLES = """
    CREATE TABLE sources (
        id INTEGER PRIMARY KEY,
        root TEXT NOT NULL,
        prefix TEXT NOT NULL,
        UNIQUE (root, prefix));
    CREATE TABLE photos (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path TEXT NOT NULL UNIQUE,
        place TEXT, lat REAL, lon REAL, heading REAL, sequence TEXT, frame INTEGER,
        content BLOB, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
        source INTEGER REFERENCES sources);
    CREATE TABLE embeddings (
        id INTEGER PRIMARY KEY REFERENCES photos ON DELETE CASCADE,
        vector BLOB NOT NULL,
        crc32 INTEGER NOT NULL);
    CREATE TABLE thumbnails (
        id INTEGER PRIMARY KEY REFERENCES photos ON DELETE CASCADE,
        jpeg BLOB NOT NULL);
    CREATE TABLE features (
        id INTEGER NOT NULL REFERENCES photos ON DELETE CASCADE,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (id, kind));
    CREATE TABLE revisions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,
        changed INTEGER NOT NULL)
"""

_FROM_1 = f"""
    ALTER TABLE photos RENAME TO photos_1;
    {_TABLES};
    INSERT INTO photos (id, path, place, lat, lon, heading, sequence, frame, content)
        SELECT id, path, place, lat, lon, heading, sequence, frame, content FROM photos_1;
    INSERT INTO embeddings SELECT id, embedding, crc32(embedding) FROM photos_1;
    DELETE FROM sqlite_sequence WHERE name = 'photos';
    INSERT INTO sqlite_sequence SELECT 'photos', seq FROM sqlite_sequence WHERE name = 'photos_1';
    DROP TABLE photos_1;
    INSERT INTO revisions (token, changed) VALUES (lower(hex(randomblob(8))), 0);
    INSERT INTO meta VALUES ('storage', 'float32')
"""
"""Version 1 kept embeddings beside the labels and knew neither sources nor thumbnails."""

GALLERY_FORMAT = Format(
    noun="a gallery",
    application_id=0x50574741,  # "PWGA"
    version=2,
    schema=f"CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL); {_TABLES}",
    error=GalleryError,
    migrations={1: _FROM_1},
)


class Ranking(NamedTuple):
    """How hits are ranked.

    Attributes:
        stack: the steps, as JSON; None for by plain similarity.
        preset: the name that they came by; empty where they came by none.
    """

    stack: str | None = None
    preset: str = ""

    @property
    def verifies(self) -> bool:
        """Whether geometry is verified, so that photos are to keep local features.

        Raises:
            OptionError: if the steps are none, or of another version.
        """
        return self.stack is not None and stack_from_json(self.stack).step(Verify) is not None


def setting_rows(
    thumbnails: bool | None,  # noqa: FBT001
    features: bool | None,  # noqa: FBT001
    ranking: Ranking | None,
    *,
    asked: bool = False,
) -> dict[str, str | None]:
    """The rows of ``meta`` that say this, None for those that are to go; ``asked`` for features that are kept.

    Raises:
        OptionError: if the ranking is none.
    """
    rows: dict[str, str | None] = {}
    if thumbnails is not None:
        rows["thumbnails"] = "yes" if thumbnails else None
    if ranking is not None:
        wanted = "preset" if ranking.verifies else None
        rows |= {"ranking": ranking.stack, "preset": ranking.preset or None, **({} if asked else {"features": wanted})}
    if features is not None:
        rows["features"] = "yes" if features else None
    return rows


def card_to_json(card: ModelCard) -> str:
    """The text that `card_from_json` reads."""
    return json.dumps(dataclasses.asdict(card))


def card_from_json(text: str, path: Path) -> ModelCard:
    """The card that ``dataclasses.asdict`` and JSON made a text of; ``path`` is where it was found.

    Raises:
        GalleryError: if it is no card.
    """
    try:
        fields = json.loads(text)
        parts = tuple(_card(part) for part in fields.pop("parts", ()))  # older cards have none
        return dataclasses.replace(_card(fields), parts=parts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{path} must hold a readable model card, got {error!r}"
        raise GalleryError(message) from error


def _card(fields: dict[str, Any]) -> ModelCard:
    """The card of one model; its parts have none."""
    rule, views = fields["input"], fields.get("views", {})  # older cards have no views
    rule = InputRule(**{**rule, "mean": tuple(rule["mean"]), "std": tuple(rule["std"])})
    views = Views(**{**views, "sizes": tuple(views.get("sizes", ()))})
    return ModelCard(**{**fields, "input": rule, "views": views, "parts": ()})
