"""kapture: ``sensors/records_camera.txt``, photos in ``sensors/records_data``, positions in ``records_gnss.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from placewise.core import Finding, Photo, Position, Source, Split
from placewise.errors import OptionError
from placewise.sources.files import bad_row, path_of

_RECORDS = PurePosixPath("sensors/records_camera.txt")
_SPLITS: dict[str, Split] = {"mapping": "gallery", "query": "query", ".": "gallery"}


def recognises(path: Path) -> bool:
    """A folder with camera records, or with the folders ``mapping`` and ``query`` that have them."""
    return path.is_dir() and bool(_roots(path))


def _roots(folder: Path) -> list[str]:
    return [name for name in _SPLITS if (folder / name / _RECORDS).is_file()]


def read(folder: Path) -> Source:
    """Read the records of each camera as a sequence; positions are those of GNSS records in degrees (EPSG:4326)."""
    photos: list[Photo] = []
    bad_rows: list[Finding] = []
    for root in _roots(folder):
        sensors = folder / root / "sensors"
        positions = dict(_positions(sensors))
        for line, cells in _lines(folder / root / _RECORDS):
            try:
                time, camera, name = cells[:3]
                path = PurePosixPath(root) / "sensors" / "records_data" / path_of(name)
                photos.append(Photo(path, _SPLITS[root], None, positions.get(time), f"{root}/{camera}", int(time)))
            except (ValueError, OptionError) as error:
                bad_rows.append(bad_row("", f"{_RECORDS.name}, line {line}: {error}; correct or remove the row"))
    return Source(folder, tuple(photos), tuple(bad_rows))


def _positions(sensors: Path) -> Iterator[tuple[str, Position]]:
    """(time, position) of each GNSS record whose sensor says that it is in degrees."""
    file, described = sensors / "records_gnss.txt", sensors / "sensors.txt"
    if not (file.is_file() and described.is_file()):
        return
    degrees = {cells[0] for _, cells in _lines(described) if "gnss" in cells[1:3] and "EPSG:4326" in cells}
    for _, cells in _lines(file):
        if len(cells) >= 4 and cells[1] in degrees:
            try:
                yield cells[0], Position(lat=float(cells[3]), lon=float(cells[2]))
            except (ValueError, OptionError):
                continue


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    for number, text in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if text.strip() and not text.startswith("#"):
            yield number, [cell.strip() for cell in text.split(",")]
