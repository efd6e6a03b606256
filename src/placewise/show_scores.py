"""What ``evaluate``, ``score`` and ``compare`` print: every number with its interval, its protocol and its counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from placewise.columns import embedded, figure, share, table
from placewise.scoring.wording import AT_TAU, counts_text, heads_of, intervals_text, is_defined, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placewise.ablation import Ablation
    from placewise.contest import Contest
    from placewise.evaluation import Evaluation
    from placewise.metrics import Interval
    from placewise.scoring.comparing import Comparison
    from placewise.scoring.scores import Scores

_ELSEWHERE = frozenset(("recall@10", "unknown_precision", "false_accept_rate", "recall_at_100_precision", "auc_pr"))
"""Headline metrics that a line for each model has no room for; they are among the differences."""

_DECISIONS = ("unknown_precision", "unknown_recall", "unknown_f1", "false_accept_rate", "false_reject_rate")


def evaluation_text(evaluation: Evaluation) -> str:
    """What ``evaluate`` prints: the dataset, the protocol, then the tables of the original design and the sweep."""
    card, scores = evaluation.card, evaluation.scores
    seconds = ", ".join(f"{stage.replace('_', ' ')} {value:.2f} s" for stage, value in evaluation.seconds.items())
    unlabelled = f", {evaluation.unlabelled_queries} not judged" if evaluation.unlabelled_queries else ""
    dataset = (
        f"{evaluation.records} records: {evaluation.gallery} gallery, {len(evaluation.results)} queries "
        f"({evaluation.open_set_queries} open-set{unlabelled})"
    )
    run = f"model {card.name}, {card.dim}-D, {card.fingerprint[:8]}; {embedded(evaluation.computed)}; {seconds}"
    parts = [f"{dataset}\n{run}\n{_protocol_text(scores)}", _retrieval_text(scores)]
    title = f"Open-set performance at tau {evaluation.tau:.4g} on the {_confidence_of(evaluation)}"
    parts.append(_open_set_text(evaluation.open_set, scores, title))
    if evaluation.calibration:
        parts.append(_calibrated_text(evaluation))
    if evaluation.scores.protocol.labelled:
        parts.append(_sweep_text(evaluation))
    return "\n\n".join(parts)


def scores_text(scores: Scores) -> str:
    """What ``score`` prints."""
    parts = [_protocol_text(scores), _retrieval_text(scores)]
    if scores.open_set:
        title = f"Open-set performance at tau {scores.tau:.4g} on the confidence"
        parts.append(_open_set_text(scores.open_set, scores, title))
    return "\n\n".join(parts)


def comparison_text(comparison: Comparison) -> str:
    """What ``compare`` prints: the sentence, then each metric of both."""
    first, second = comparison.names
    rows = [("metric", first, second, "difference", "95 % interval", f"draws in which {second} is better")]
    rows += [
        (
            words_of(one.metric).label,
            figure(one.first),
            figure(one.second),
            f"{one.difference:+.4f}",
            _interval_text(one.interval, signed=True) or "-",
            share(one.better),
        )
        for one in comparison.differences
    ]
    about = f"protocol {comparison.protocol}; paired bootstrap over {comparison.groups} {comparison.unit}"
    return f"{comparison.sentence}\n{about}\n\n{table(rows)}"


def contest_text(contest: Contest) -> str:
    """What ``evaluate --models`` prints: one line a model, then how each differs from the first."""
    scores = contest.evaluations[0].scores
    names = [name for name in heads_of(scores) if name not in _ELSEWHERE]
    rows = [("model", "dim", *(words_of(name).label for name in names))]
    for evaluation in contest.evaluations:
        values = evaluation.values
        cells = [_with_interval(values[name], evaluation.intervals.get(name)) for name in names]
        rows.append((evaluation.card.name, str(evaluation.card.dim), *cells))
    differences = [comparison_text(comparison) for comparison in contest.comparisons]
    return "\n\n".join([_protocol_text(scores), table(rows), *differences])


def _protocol_text(scores: Scores) -> str:
    """The protocol, how many queries are of which kind, and what the intervals are over."""
    protocol = f"protocol {scores.protocol.spelled}: {scores.protocol.law}"
    return f"{protocol}\n{'; '.join(filter(None, (counts_text(scores), intervals_text(scores))))}"


def _retrieval_text(scores: Scores) -> str:
    rows = [
        (words_of(name).label, _with_interval(value, scores.intervals.get(name)))
        for name, value in scores.retrieval.items()
    ]
    return table([("Quantitative results", ""), *rows])


def _open_set_text(values: Mapping[str, float], scores: Scores, title: str) -> str:
    """The metrics of the confidence: those of the decisions only where there is a tau."""
    counts, decided = scores.decisions, not math.isnan(scores.tau)
    decisions = {name: getattr(counts, name) for name in _DECISIONS} if counts else {}
    rows = [
        (words_of(name).label, _with_interval(value, scores.intervals.get(name)))
        for name, value in {**decisions, **values}.items()
        if name not in AT_TAU or decided
    ]
    if counts:
        rows[len(decisions) : len(decisions)] = [
            ("false positives", f"{counts.false_positives} known queries answered UNKNOWN"),
            ("false negatives", f"{counts.false_negatives} open-set queries answered KNOWN"),
        ]
    return table([(title if decided else "Confidence of the best hit", ""), *rows])


def _with_interval(value: float, interval: Interval | None) -> str:
    return f"{figure(value)}  {_interval_text(interval)}".rstrip()


def _interval_text(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None or not is_defined(interval):
        return ""
    return (
        f"({interval.low:+.3f} to {interval.high:+.3f})" if signed else f"({interval.low:.2f} to {interval.high:.2f})"
    )


def _sweep_text(evaluation: Evaluation) -> str:
    return table(
        [
            ("tau on similarity", "precision", "recall", "F1", "false positives", "false negatives"),
            *(
                (
                    f"{tau:.2f}",
                    figure(at_tau.unknown_precision),
                    figure(at_tau.unknown_recall),
                    figure(at_tau.unknown_f1),
                    str(at_tau.false_positives),
                    str(at_tau.false_negatives),
                )
                for tau, at_tau in evaluation.sweep
            ),
        ]
    )


def _confidence_of(evaluation: Evaluation) -> str:
    if evaluation.reliability:
        return "probability"
    return "similarity of the first hit" if evaluation.calibration or math.isnan(evaluation.tau) else "plain similarity"


def _calibrated_text(evaluation: Evaluation) -> str:
    """What the gallery promised of itself, beside what came true."""
    calibration = evaluation.calibration
    assert calibration is not None  # noqa: S101  # only asked for then
    expected = {choice.false_accept_rate: choice for choice in calibration.choices}
    rows = [("wanted rate", "tau", "expected rate", "achieved rate", "known accepted, right")]
    for rate, counts, right in evaluation.choices:
        choice = expected[rate]
        rows.append(
            (
                share(rate),
                f"{choice.tau:.4f}",
                share(choice.expected_rate),
                share(counts.false_accept_rate),
                share(right),
            )
        )
    lines = [f"Calibrated on the gallery alone: {calibration.promise}", table(rows)]
    return "\n".join([*lines, *(f"note: {note}" for note in calibration.notes)])


def ablation_text(ablation: Ablation) -> str:
    """What ``ablate`` prints: a line for each way to see and to rank, and which preset to take."""
    from placewise.measuring import METRICS

    figures = [word for label in METRICS.values() for word in (label, f"{label} gained")]
    head = ("ranking", *figures, "ms/query", "bytes/photo", "against", "")
    rows = [
        (
            row.name,
            *(word for name in METRICS for word in (_metric(row.metrics.get(name)), _gain(row.gains.get(name)))),
            "-" if row.left_out else f"{row.ms_per_query:.1f}",
            "-" if row.left_out else f"{row.bytes_per_photo:.0f}",
            row.against or "-",
            f"left out: {row.left_out}" if row.left_out else "",
        )
        for row in ablation.rows
    ]
    said = tuple(f"step {row.name[2:]} is left out: " for row in ablation.rows if row.left_out)
    notes = sorted({note for row in ablation.rows for note in row.notes if not note.startswith(said)})
    return "\n".join([table([head, *rows]), *notes, f"recommended: {ablation.recommended}: {ablation.because}"])


def _metric(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _gain(limits: tuple[float, float] | None) -> str:
    return "-" if limits is None or math.isnan(limits[0]) else f"{limits[0]:+.3f} to {limits[1]:+.3f}"
