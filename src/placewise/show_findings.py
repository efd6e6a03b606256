"""What ``validate`` prints: a table to act on, then names, then what to type next."""

from __future__ import annotations

import shlex
import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING

from placewise.columns import table
from placewise.doctor import BY_NAME, KINDS
from placewise.manifest import dropped_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from placewise.cleaning import Cleaned
    from placewise.core import Finding, Photo, Source
    from placewise.doctor import Examination

_FINDINGS_SHOWN = 5
_NAMES_SHOWN = 4
_SEVERITIES = ("error", "warning", "info")


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
    found = _by_severity(examination.findings)
    absent = [kind for kind, count in examination.counts.items() if not count]
    head = f"{examination.records} records: {examination.gallery} gallery, {examination.query} query"
    parts = [head]
    if found:
        parts.append(table([("severity", "kind", "findings", "photos", "what to do"), *map(_row, found.items())]))
    parts.append(_wrapped(f"not found: {', '.join(absent)}") if found else "nothing found")
    parts += [_section(severity, kind, findings) for (severity, kind), findings in found.items()]
    parts.append(_cleaned_text(*cleaned) if cleaned else next_line(examination, source, columns=columns))
    return "\n\n".join(parts)


def cleaned_json(path: Path, cleaned: Cleaned) -> dict[str, object]:
    """What ``validate --fix --json`` adds."""
    return {
        "manifest": str(path),
        "gallery": len(cleaned.of("gallery")),
        "query": len(cleaned.of("query")),
        "changed": len(cleaned.reasons),
        "dropped": len(cleaned.dropped),
        "dropped_rows": str(dropped_path(path)),
    }


def next_line(examination: Examination, source: Path, *, columns: str = "") -> str:
    """Whether the data are fit for use, and what to type next."""
    counts = {severity: sum(found.severity == severity for found in examination.findings) for severity in _SEVERITIES}
    name = shlex.quote(str(source)) + (f" --columns {shlex.quote(columns)}" if columns else "")
    clean = shlex.quote(str((source if source.is_dir() else source.parent) / "clean.csv"))
    if examination.has_errors:
        return f"not fit for use, {_counted(counts['error'], 'error')}: type placewise validate {name} --fix {clean}"
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
    held = {photo.place for photo in photos if photo.split == "gallery"}
    asking = [photo for photo in photos if photo.split == "query"]
    known = sum(photo.place in held for photo in asking)
    left_out = len(source.photos) + len(source.bad_rows) - len(photos)
    return (
        f"{path}: {len(photos) - len(asking)} gallery photos of {len(held - {None})} places, "
        f"{known} known queries, {len(asking) - known} open-set queries"
        + (f", {left_out} left out" if left_out else "")
        + f"; type placewise evaluate {shlex.quote(str(path))}"
    )


def _by_severity(findings: Sequence[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Findings by (severity, kind), the worst first, then in the order of the kinds."""
    found: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.severity, finding.kind].append(finding)
    order = sorted(found, key=lambda key: (_SEVERITIES.index(key[0]), KINDS.index(key[1])))
    return {key: found[key] for key in order}


def _row(item: tuple[tuple[str, str], list[Finding]]) -> tuple[str, ...]:
    (severity, kind), findings = item
    photos = len({name for finding in findings for name in finding.photos})
    usual = BY_NAME[kind]
    todo = usual.todo if severity in {usual.severity, "error"} else "see below"
    return severity, kind, str(len(findings)), str(photos), todo


def _section(severity: str, kind: str, findings: Sequence[Finding]) -> str:
    """The first findings of a kind; what all of them have to say is said once."""
    alike = len({finding.detail for finding in findings}) == 1
    lines = [f"{severity}: {kind}" + (f": {_plain(findings[0].detail)}" if alike else "")]
    for finding in findings[:_FINDINGS_SHOWN]:
        said = [_names(finding.photos), "" if alike else _plain(finding.detail)]
        lines += [f"  {': '.join(filter(None, said))}"] if any(said) else []
    if len(findings) > _FINDINGS_SHOWN:
        lines.append(f"  … and {len(findings) - _FINDINGS_SHOWN} more: --json lists them all")
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _names(photos: Sequence[str]) -> str:
    shown = ", ".join(map(_plain, photos[:_NAMES_SHOWN]))
    return shown + (f" and {len(photos) - _NAMES_SHOWN} more" if len(photos) > _NAMES_SHOWN else "")


def _plain(text: str) -> str:
    """Text in one line that a terminal does not obey: names of files and places may hold anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _cleaned_text(path: Path, cleaned: Cleaned) -> str:
    dropped = f", {len(cleaned.dropped)} left out ({dropped_path(path)} says why)" if cleaned.dropped else ""
    changed = f", {len(cleaned.reasons)} with a reason in its column" if cleaned.reasons else ""
    return (
        f"{path}: {len(cleaned.of('gallery'))} gallery, {len(cleaned.of('query'))} query{changed}{dropped}; "
        f"type placewise validate {shlex.quote(str(path))}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
