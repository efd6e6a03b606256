"""What ``validate`` prints: a table to act on, then names, then what to type next."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from placewise.cleaning import leaves_nothing
from placewise.columns import table
from placewise.doctor import BY_NAME
from placewise.manifest import dropped_path, free_path
from placewise.page import plain, short
from placewise.splitting import known_queries
from placewise.survey import SEVERITIES, by_severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from placewise.cleaning import Cleaned
    from placewise.core import Finding, Photo, Source
    from placewise.doctor import Examination

_FINDINGS_SHOWN = 5
_NAMES_SHOWN = 4
_LONGEST = 1000


def examination_text(
    examination: Examination, source: Path, cleaned: tuple[Path, Cleaned] | None = None, *, columns: str = ""
) -> str:
    """The table of what was found, the first findings of each kind, and one line that says what to type next.

    Args:
        examination: what the doctor found.
        source: what the user typed.
        cleaned: the clean manifest that was written, and what is in it.
        columns: what the user typed for the names of columns.
    """
    found = by_severity(examination.findings)
    absent = [kind for kind, count in examination.counts.items() if not count]
    head = f"{examination.records} records: {examination.gallery} gallery, {examination.query} query"
    parts = [head]
    if found:
        parts.append(table([("severity", "kind", "findings", "photos", "what to do"), *map(_row, found.items())]))
    parts.append(_wrapped(f"not found: {', '.join(absent)}") if found else "nothing found")
    parts += [_section(severity, kind, findings) for (severity, kind), findings in found.items()]
    parts.append(_cleaned_text(examination, *cleaned) if cleaned else next_line(examination, source, columns=columns))
    return "\n\n".join(parts)


def cleaned_json(path: Path, cleaned: Cleaned) -> dict[str, object]:
    """What ``validate --fix --json`` adds."""
    return {
        "manifest": str(path),
        "gallery": len(cleaned.of("gallery")),
        "query": len(cleaned.of("query")),
        "changed": len(cleaned.reasons),
        "dropped": len(cleaned.dropped),
        "dropped_rows": str(dropped_path(path)) if cleaned.dropped else None,
        "matches_lost": cleaned.matches_lost,
    }


def next_line(examination: Examination, source: Path, *, columns: str = "") -> str:
    """Whether the data are fit for use, and what to type next."""
    counts = {severity: sum(found.severity == severity for found in examination.findings) for severity in SEVERITIES}
    name = _typed(source) + (f" --columns {plain(shlex.quote(columns))}" if columns else "")
    if examination.has_errors:
        verdict = f"not fit for use, {_counted(counts['error'], 'error')}"
        if leaves_nothing(examination):
            return f"{verdict}, and no photo without one: correct the source, then type placewise validate {name}"
        clean = free_path((source if source.is_dir() else source.parent) / "clean.csv")
        return f"{verdict}: type placewise validate {name} --fix {_typed(clean)}"
    verdict = (
        f"fit for use, {_counted(counts['warning'], 'warning')} to look at" if counts["warning"] else "fit for use"
    )
    if not examination.gallery:
        return f"{verdict}: type placewise split {name}"
    if any(fact.photo.split == "query" and fact.photo.place for fact in examination.facts):
        return f"{verdict}: type placewise evaluate {name}"
    return f"{verdict}: type placewise index {name} --gallery my.gallery"


def split_text(source: Source, photos: Sequence[Photo], path: Path) -> str:
    """What ``split`` prints of the manifest that it wrote."""
    places = {photo.place for photo in photos if photo.split == "gallery"} - {None}
    asking = sum(photo.split == "query" for photo in photos)
    known = known_queries(photos)
    said = f"{known} known queries, {asking - known} open-set queries" if known is not None else f"{asking} queries"
    left_out = len(source.photos) + len(source.bad_rows) - len(photos)
    return (
        f"{plain(str(path))}: {len(photos) - asking} gallery photos{f' of {len(places)} places' if places else ''}, "
        + said
        + (f", {left_out} left out" if left_out else "")
        + _lost(len({*source.positives, *source.grades}))
        + f"; type placewise {f'evaluate {_typed(path)}' if places else f'index {_typed(path)} --gallery my.gallery'}"
    )


def _row(item: tuple[tuple[str, str], list[Finding]]) -> tuple[str, ...]:
    (severity, kind), findings = item
    photos = len({name for finding in findings for name in finding.photos})
    usual = BY_NAME[kind]
    todo = usual.todo if severity in {usual.severity, "error"} else "see below"
    return severity, kind, str(len(findings)), str(photos), todo


def _section(severity: str, kind: str, findings: Sequence[Finding]) -> str:
    """The first findings of a kind; what all of them have to say is said once."""
    alike = len({finding.detail for finding in findings}) == 1
    lines = [f"{severity}: {kind}" + (f": {_cut(findings[0].detail)}" if alike else "")]
    for finding in findings[:_FINDINGS_SHOWN]:
        said = [_names(finding.photos), "" if alike else _cut(finding.detail)]
        lines += [f"  {': '.join(filter(None, said))}"] if any(said) else []
    if len(findings) > _FINDINGS_SHOWN:
        lines.append(f"  … and {len(findings) - _FINDINGS_SHOWN} more: --json lists them all")
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _names(photos: Sequence[str]) -> str:
    shown = ", ".join(map(short, photos[:_NAMES_SHOWN]))
    return shown + (f" and {len(photos) - _NAMES_SHOWN} more" if len(photos) > _NAMES_SHOWN else "")


def _cleaned_text(examination: Examination, path: Path, cleaned: Cleaned) -> str:
    beside = plain(str(dropped_path(path)))
    dropped = f", {len(cleaned.dropped)} left out ({beside} says why)" if cleaned.dropped else ""
    changed = f", {len(cleaned.reasons)} with a reason in its column" if cleaned.reasons else ""
    gallery, queries = len(cleaned.of("gallery")), len(cleaned.of("query"))
    if (examination.query and not queries) or (examination.gallery and not gallery):
        todo = f"no {'gallery photo' if queries else 'query'} is left; type placewise split {_typed(path)}"
    else:
        todo = f"type placewise validate {_typed(path)}"
    return (
        f"{plain(str(path))}: {gallery} gallery, {queries} query{changed}{dropped}{_lost(cleaned.matches_lost)}; {todo}"
    )


def _lost(matches: int) -> str:
    """What is said where a manifest cannot hold the known matches of a source."""
    return (
        f"; without the known matches of {_counted(matches, 'photo')}, which a manifest cannot hold" if matches else ""
    )


def _cut(detail: str) -> str:
    """A sentence in one line; what a hostile table put into it is not shown at length."""
    return plain(detail if len(detail) <= _LONGEST else f"{detail[:_LONGEST]}…")


def _typed(path: Path) -> str:
    """A path as it is typed, but shown in one line that a terminal does not obey."""
    return plain(shlex.quote(str(path)))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
