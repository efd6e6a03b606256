"""What commands print: text for people, columns aligned by spaces so that it can be cut, pasted and grepped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placewise.columns import embedded, share, table
from placewise.models.cards import VLAD
from placewise.models.digests import check_of
from placewise.openset.evidence import EVIDENCE
from placewise.show_scores import contest_text, evaluation_text

__all__ = ["contest_text", "evaluation_text"]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from placewise.core import Answer, Hit, ModelCard
    from placewise.demo import Demo
    from placewise.doctor import Examination
    from placewise.indexing import Indexed
    from placewise.openset import Calibration
    from placewise.renewal import Renewed


def megabytes(size_bytes: int | None) -> str:
    """A size in bytes, in decimal megabytes; ``?`` where it is not known."""
    return "?" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


def model_json(card: ModelCard, weights: Path | None) -> dict[str, object]:
    """What ``models list --json`` prints for one model; ``weights`` is None where they are not on this machine."""
    return {
        "name": card.name,
        "dim": card.dim,
        "licence": card.licence,
        "size_bytes": card.size_bytes,
        "source": card.source,
        "installed": weights is not None or card.architecture == VLAD,
        "weights": str(weights) if weights else None,
        "check": _check_of(card),
    }


def _check_of(card: ModelCard) -> str:
    return "learned by each gallery" if card.architecture == VLAD else check_of(card.weights_file)


def models_text(rows: Sequence[tuple[ModelCard, Path | None]]) -> str:
    """What ``models list`` prints: one line a model."""
    return table(
        [
            ("model", "dim", "size", "installed", "check", "licence"),
            *(
                (
                    card.name,
                    str(card.dim),
                    megabytes(card.size_bytes),
                    "yes" if weights or card.architecture == VLAD else "no",
                    _check_of(card),
                    card.licence,
                )
                for card, weights in rows
            ),
        ]
    )


def _examination_rows(examination: Examination) -> list[tuple[str, str]]:
    return [
        ("records", str(examination.records)),
        ("gallery", str(examination.gallery)),
        ("query", str(examination.query)),
        *((kind, str(count)) for kind, count in examination.counts.items() if count),
    ]


def indexed_json(
    indexed: Indexed, held: int, renewed: Renewed | None = None, notes: Sequence[str] = ()
) -> dict[str, object]:
    """What ``index --json`` prints.

    Args:
        indexed: what was done.
        held: photos in the gallery.
        renewed: None where the gallery was not to calibrate itself.
        notes: steps of the ranking that are left out, and why.
    """
    from placewise.evaluation import calibration_json  # as in `answer_json`

    calibration = renewed.calibration if renewed else None
    return {
        "added": indexed.added,
        "updated": indexed.updated,
        "moved": indexed.moved,
        "relabelled": indexed.relabelled,
        "unchanged": indexed.unchanged,
        "mended": indexed.mended,
        "removed": indexed.removed,
        "embedded": indexed.computed,
        "failed": [
            {"path": str(failure.photo.path), "kind": failure.kind, "reason": failure.reason}
            for failure in indexed.failures
        ],
        "photos": held,
        "not_in_source": indexed.foreign,
        "calibration": None if calibration is None else calibration_json(calibration),
        "calibrating": renewed.says if renewed else None,
        "notes": list(notes),
    }


def indexed_text(indexed: Indexed, path: Path, held: int, renewed: Renewed | None = None) -> str:
    """What ``index`` prints; ``renewed`` is None where the gallery was not to calibrate itself."""
    return (
        f"{indexed.added} added, {indexed.updated} updated, {indexed.moved} moved, {indexed.relabelled} relabelled, "
        f"{indexed.unchanged} unchanged, {indexed.removed} removed, {len(indexed.failures)} failed; "
        + (f"damaged local features of {indexed.mended} extracted again; " if indexed.mended else "")
        + f"{embedded(indexed.computed)}\n"
        f"{path} holds {held} photos"
        + (f", {indexed.foreign} of them not in this source's gallery" if indexed.foreign else "")
        + (f"\n{renewed.says}" if renewed else "")
    )


def pairs(document: Mapping[str, object]) -> str:
    """A flat document as two columns."""
    return table([(key, _value(value)) for key, value in document.items()])


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def info_text(info: Mapping[str, object], faults: Sequence[str] | None) -> str:
    """What ``gallery info`` prints; ``faults`` is None where nothing was checked."""
    if faults is None:
        return pairs(info)
    damaged = "damaged; restore a copy or make it anew, where no line says what mends it:"
    verdict = "\n".join([damaged, *faults]) if faults else "checked: whole"
    return f"{pairs(info)}\n{verdict}"


def answer_json(name: str, answer: Answer, notes: Sequence[str] = ()) -> dict[str, object]:
    """What ``locate --json`` prints for one photo; ``notes`` are those of the `Locator`."""
    from placewise.evaluation import hit_json  # 'placewise models list' must not wait for the whole pipeline

    return {
        "query": name,
        "known": answer.known,
        "place": answer.place,
        "confidence": answer.confidence,
        "tau": answer.tau,
        "reason": answer.reason,
        "hits": [hit_json(hit) for hit in answer.hits],
        "notes": list(notes),
    }


def answer_text(name: str, answer: Answer) -> str:
    """What ``locate`` prints for one photo: the verdict, then a line for each hit."""
    verdict = f"KNOWN {answer.place or '(no place label)'}" if answer.known else "UNKNOWN"
    hits = [(f"  {hit.similarity:.3f}", hit.photo.place or "-", _verified(hit)) for hit in answer.hits]
    return f"{name}: {verdict} ({answer.reason})" + ("\n" + table(hits) if hits else "")


def calibration_text(calibration: Calibration, path: Path) -> str:
    """What ``calibrate`` prints: the threshold and its promise, other choices, what is mixed up, and the cautions."""
    parts = [
        (
            f"{path}: {calibration.open_set_questions} photos of {calibration.places} places asked "
            f"without their place, {calibration.known_questions} with it"
        ),
        table(
            [
                ("Calibration", ""),
                ("confidence", _confidence_text(calibration)),
                ("tau", f"{calibration.tau:.4f}"),
                ("wanted false-accept rate", share(calibration.false_accept_rate)),
                ("promise", calibration.promise),
                ("known, right place", f"{share(calibration.known_accepted)} expected to be accepted"),
                ("known, wrong place", f"{share(calibration.known_wrong)} expected to be accepted"),
            ]
        ),
        table(
            [
                ("wanted rate", "tau", "expected rate", "known accepted, right"),
                *(
                    (
                        share(choice.false_accept_rate),
                        f"{choice.tau:.4f}",
                        share(choice.expected_rate),
                        share(choice.known_accepted),
                    )
                    for choice in calibration.choices
                ),
            ]
        ),
    ]
    if calibration.confusions:
        heading = f"Mixed up if 95 % of known queries were accepted (rate {share(calibration.rate_at_95)})"
        pairs = [(" - ".join(pair.places), f"{pair.photos} photos") for pair in calibration.confusions]
        parts.append(table([(heading, ""), *pairs]))
    return "\n\n".join([*parts, *(f"note: {note}" for note in calibration.notes)])


def _confidence_text(calibration: Calibration) -> str:
    compared = ""
    if calibration.won is not None and calibration.oscr is not None and calibration.oscr_similarity is not None:
        compared = f" (OSCR {calibration.oscr:.3f}, of the similarity alone {calibration.oscr_similarity:.3f})"
    if calibration.learned:
        geometry = calibration.confidence is not None and len(calibration.confidence.weights) == len(EVIDENCE)
        evidence = "similarity, contrast, support and geometry" if geometry else "similarity, contrast and support"
        return f"probability, learned from {evidence}{compared}"
    if calibration.confidence:
        return "probability, from the similarity alone: more evidence was not better here"
    return "the similarity of the first hit"


def demo_text(result: Demo) -> str:
    """What ``demo`` prints."""
    return "\n\n".join(
        (
            table([("Validation results", ""), *_examination_rows(result.examination)]),
            evaluation_text(result.evaluation),
            "Three answers\n" + "\n".join(answer_text(str(photo.path), answer) for photo, answer in result.answers),
            f"report:  {result.report}\ngallery: {result.gallery}",
        )
    )


def _verified(hit: Hit) -> str:
    """A hit's path, and how many matches agree where its geometry was verified."""
    return str(hit.photo.path) if hit.inliers is None else f"{hit.photo.path} ({hit.inliers} matches agree)"
