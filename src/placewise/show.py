"""What commands print: text for people, columns aligned by spaces so that it can be cut, pasted and grepped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from placewise.models.digests import check_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from placewise.core import Answer, ModelCard
    from placewise.demo import Demo
    from placewise.doctor import Examination
    from placewise.evaluate import Evaluation
    from placewise.indexing import Indexed

_FINDINGS_SHOWN = 5


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by spaces, so that the text can be cut, pasted and grepped."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


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
        "installed": weights is not None,
        "weights": str(weights) if weights else None,
        "check": check_of(card.weights_file),
    }


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
                    "yes" if weights else "no",
                    check_of(card.weights_file),
                    card.licence,
                )
                for card, weights in rows
            ),
        ]
    )


def examination_text(examination: Examination) -> str:
    """What ``validate`` prints: the counts, then the first findings of each kind."""
    lines = [table([("Validation results", ""), *_examination_rows(examination)])]
    for kind, count in examination.counts.items():
        shown = [finding for finding in examination.findings if finding.kind == kind]
        if shown:
            lines.append(f"\n{kind} ({count})")
            lines += [
                f"  {finding.severity}: {_names(finding.photos)}: {finding.detail}"
                for finding in shown[:_FINDINGS_SHOWN]
            ]
        if len(shown) > _FINDINGS_SHOWN:
            lines.append(f"  … and {len(shown) - _FINDINGS_SHOWN} more: --json lists them all")
    return "\n".join(lines)


def _names(photos: Sequence[str]) -> str:
    return ", ".join(photos[:4]) + (f" and {len(photos) - 4} more" if len(photos) > 4 else "")


def _examination_rows(examination: Examination) -> list[tuple[str, str]]:
    return [
        ("records", str(examination.records)),
        ("gallery", str(examination.gallery)),
        ("query", str(examination.query)),
        *((kind, str(count)) for kind, count in examination.counts.items()),
    ]


def indexed_json(indexed: Indexed, held: int) -> dict[str, object]:
    """What ``index --json`` prints."""
    return {
        "added": indexed.added,
        "updated": indexed.updated,
        "moved": indexed.moved,
        "relabelled": indexed.relabelled,
        "unchanged": indexed.unchanged,
        "removed": indexed.removed,
        "embedded": indexed.computed,
        "failed": [
            {"path": str(failure.photo.path), "kind": failure.kind, "reason": failure.reason}
            for failure in indexed.failures
        ],
        "photos": held,
        "not_in_source": indexed.foreign,
    }


def indexed_text(indexed: Indexed, path: Path, held: int) -> str:
    """What ``index`` prints."""
    return (
        f"{indexed.added} added, {indexed.updated} updated, {indexed.moved} moved, {indexed.relabelled} relabelled, "
        f"{indexed.unchanged} unchanged, {indexed.removed} removed, {len(indexed.failures)} failed; "
        f"{_embedded(indexed.computed)}\n"
        f"{path} holds {held} photos"
        + (f", {indexed.foreign} of them not in this source's gallery" if indexed.foreign else "")
    )


def _embedded(computed: int) -> str:
    return f"embedded {computed} photos" if computed else "nothing had to be embedded"


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
    verdict = "\n".join(["damaged; restore a copy or make it anew:", *faults]) if faults else "checked: whole"
    return f"{pairs(info)}\n{verdict}"


def answer_json(name: str, answer: Answer) -> dict[str, object]:
    """What ``locate --json`` prints for one photo."""
    from placewise.evaluate import hit_json  # 'placewise models list' must not wait for the whole pipeline

    return {
        "query": name,
        "known": answer.known,
        "place": answer.place,
        "confidence": answer.confidence,
        "hits": [hit_json(hit) for hit in answer.hits],
    }


def answer_text(name: str, answer: Answer) -> str:
    """What ``locate`` prints for one photo: the verdict, then a line for each hit."""
    verdict = f"KNOWN {answer.place or '(no place label)'}" if answer.known else "UNKNOWN"
    confidence = "no photo to compare with" if answer.confidence is None else f"confidence {answer.confidence:.3f}"
    hits = [(f"  {hit.similarity:.3f}", hit.photo.place or "-", str(hit.photo.path)) for hit in answer.hits]
    return f"{name}: {verdict} ({confidence})" + ("\n" + table(hits) if hits else "")


def evaluation_text(evaluation: Evaluation) -> str:
    """What ``evaluate`` prints: the dataset, then the tables of the original design and the sweep."""
    counts, card = evaluation.counts, evaluation.card
    seconds = ", ".join(f"{stage.replace('_', ' ')} {value:.2f} s" for stage, value in evaluation.seconds.items())
    unlabelled = f", {evaluation.unlabelled_queries} unlabelled" if evaluation.unlabelled_queries else ""
    dataset = (
        f"{evaluation.records} records: {evaluation.gallery} gallery, {len(evaluation.results)} queries "
        f"({evaluation.open_set_queries} open-set{unlabelled})"
    )
    run = f"model {card.name}, {card.dim}-D, {card.fingerprint[:8]}; {_embedded(evaluation.computed)}; {seconds}"
    return "\n\n".join(
        (
            f"{dataset}\n{run}",
            table(
                [
                    ("Quantitative results", ""),
                    ("Recall@1", _figure(evaluation.retrieval["recall@1"])),
                    ("Recall@5", _figure(evaluation.retrieval["recall@5"])),
                    ("Recall@10", _figure(evaluation.retrieval["recall@10"])),
                    ("mAP", _figure(evaluation.retrieval["map"])),
                ]
            ),
            table(
                [
                    (f"Open-set performance at tau {evaluation.tau:.2f}", ""),
                    ("UNKNOWN precision", _figure(counts.unknown_precision)),
                    ("UNKNOWN recall", _figure(counts.unknown_recall)),
                    ("UNKNOWN F1", _figure(counts.unknown_f1)),
                    ("false positives", f"{counts.false_positives} known queries answered UNKNOWN"),
                    ("false negatives", f"{counts.false_negatives} open-set queries answered KNOWN"),
                    ("wrong-place rate", _figure(evaluation.open_set["wrong_place_rate"])),
                    ("AUROC", _figure(evaluation.open_set["auroc"])),
                    ("FPR95", _figure(evaluation.open_set["fpr95"])),
                    ("OSCR", _figure(evaluation.open_set["oscr"])),
                ]
            ),
            table(
                [
                    ("tau", "precision", "recall", "F1", "false positives", "false negatives"),
                    *(
                        (
                            f"{tau:.2f}",
                            _figure(at_tau.unknown_precision),
                            _figure(at_tau.unknown_recall),
                            _figure(at_tau.unknown_f1),
                            str(at_tau.false_positives),
                            str(at_tau.false_negatives),
                        )
                        for tau, at_tau in evaluation.sweep
                    ),
                ]
            ),
        )
    )


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
