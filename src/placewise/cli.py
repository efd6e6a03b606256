"""The command line: parse, one library call, print.

Reports go to standard output, progress and complaints to standard error. Exit codes: 0 done; 1 the data has errors;
2 usage or a refused input, in one line; 130 interrupted.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import warnings
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from placewise.cli_serve import keys, serve
from placewise.errors import OptionError, PlacewiseError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from placewise.cache import Cache
    from placewise.core import Embedder, ModelCard, Source
    from placewise.embed import Failure
    from placewise.evaluation import Evaluation
    from placewise.gallery_file import Storage
    from placewise.models import Decode, Device, Look, Precision
    from placewise.openset import Aim
    from placewise.search.sidecar import SearcherKind

# Library modules are imported inside the commands: 'placewise --help' must not wait for a network engine.

_DATA_HAS_ERRORS = 1
_REFUSED = 2
_INTERRUPTED = 130

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
_source_path = click.argument("source", type=click.Path(path_type=Path))
_columns = click.option(
    "--columns",
    default="",
    metavar="OURS=THEIRS,…",
    help="For a table: what its columns are called, as in path=file,place=landmark_id,split=subset.",
)


def _source(command: Callable[..., None]) -> Callable[..., None]:
    return _source_path(_columns(command))


_force = click.option("--force", is_flag=True, help="Replace a table that is there under the name of what is written.")
_gallery = click.option(
    "--gallery", "gallery_path", type=click.Path(path_type=Path), required=True, help="The gallery file."
)
_weights = click.option(
    "--weights", type=click.Path(path_type=Path), help="A checkpoint of the model's architecture to use instead."
)
_device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: a CUDA device where there is one.",
)
_preset = click.option(
    "--preset",
    metavar="NAME",
    help="fast, balanced or accurate: how photos are seen and ranked. Default: balanced, or as the gallery was begun.",
)
_MODEL_HELP = (
    "A name that 'placewise models' lists, or an .onnx file with a card (.toml) beside it, or two of these, a+b, whose "
    "similarities are added."
)
_rate = click.option(
    "--false-accept-rate",
    type=float,
    default=0.05,
    show_default=True,
    help="The wanted share of photos of unknown places that are answered KNOWN.",
)
_confidence = click.option(
    "--confidence",
    type=click.Choice(["auto", "similarity"]),
    default="auto",
    show_default=True,
    help="auto: a probability, from more evidence where that is better; similarity: that of the first hit alone.",
)


def _look_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that reach the command as one ``look``."""

    @wraps(command)
    def with_look(
        *,
        input_sizes: tuple[int, ...],
        fit: Literal["crop", "whole", "both"] | None,
        pooling: str | None,
        flip: bool,
        crops: int,
        **others: Any,
    ) -> None:
        from placewise.models.looks import Look

        command(look=Look(sizes=input_sizes, fit=fit, pooling=pooling, flip=flip, crops=crops), **others)

    for option in (
        click.option("--crops", default=1, show_default=True, help="Squares seen along the longer side, averaged."),
        click.option("--flip", is_flag=True, help="See each photo mirrored, too: twice the time."),
        click.option("--pooling", metavar="NAME", help="average, or gem2 for a generalised mean of power 2."),
        click.option(
            "--fit",
            type=click.Choice(["crop", "whole", "both"]),
            help="See the square in the centre, the whole photo or both, averaged. Default: as the model's card says.",
        ),
        click.option(
            "--input-size",
            "input_sizes",
            type=int,
            multiple=True,
            metavar="PIXELS",
            help="The network's input, of a whole photo its shorter side; several are averaged. Default: the card's.",
        ),
    ):
        with_look = option(with_look)
    return with_look


def _cache_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--no-cache", is_flag=True, help="Neither use nor keep embeddings of earlier runs."),
        click.option(
            "--cache", "cache_path", type=click.Path(path_type=Path), help="The embedding cache to use; default: yours."
        ),
    ):
        command = option(command)
    return command


def _model_options(*, of_gallery: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that choose a model; with ``of_gallery`` what is not said, None, is as a gallery was begun."""

    def default(value: str) -> dict[str, Any]:
        if of_gallery:
            return {"default": None, "show_default": f"as the gallery was begun, a new one: {value}"}
        return {"default": value, "show_default": True}

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        command = _cache_options(_look_options(command))
        for option in (
            click.option(
                "--decode",
                type=click.Choice(["fast", "full"]),
                help="fast decodes large JPEGs at a reduced scale.",
                **default("fast"),
            ),
            click.option(
                "--precision",
                type=click.Choice(["auto", "float32", "int8"]),
                help="auto: bfloat16 where the processor has it; int8: what 'placewise models quantise' made.",
                **default("auto"),
            ),
            _device,
            _weights,
            click.option("--model", help=_MODEL_HELP, **default("efficientnet-lite0")),
        ):
            command = option(command)
        return command

    return with_options


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="placewise")
def app() -> None:
    """Which of my places does this photo show, or is it UNKNOWN?

    \b
    placewise index photos/manifest.csv --gallery city.gallery
    placewise locate where.jpg --gallery city.gallery

    SOURCE is a manifest.csv (columns path, place, split; optional lat, lon, heading, sequence, frame) or a folder of
    photos.
    """


@app.command()
@_source
@click.option(
    "--min-side",
    default=64,
    type=click.IntRange(min=1),
    show_default=True,
    help="Shorter sides below this are too small, in pixels.",
)
@click.option(
    "--fix", "clean_path", type=click.Path(path_type=Path), metavar="OUT.csv", help="Write a clean manifest there."
)
@_force
@click.option("--report", type=click.Path(path_type=Path), help="Write a self-contained HTML report here.")
@_json
def validate(
    source: Path, columns: str, min_side: int, clean_path: Path | None, force: bool, report: Path | None, as_json: bool
) -> None:
    """Say what is wrong with a dataset, all of it in one run.

    Exits with 1 when there are errors, unless --fix has written a manifest without them.

    \b
    Example: placewise validate photos
             placewise validate photos --fix photos/clean.csv
             placewise validate photos --report out.html

    --fix leaves out bad rows and photos that cannot be decoded, keeps one of each file, and moves copies that are on
    both sides to the gallery; the same file with different places is left out. A column 'reason' says why a row is not
    what it was, and OUT-dropped.csv names what was left out. Photos are never touched, nor is the source replaced, nor
    any other table without --force.

    --report shows the findings and the photos concerned, copies side by side, places, sizes, formats and a map, in one
    file that opens offline. It speaks of SOURCE as it is, also with --fix.
    """
    from placewise import cleaning, doctor, show_findings
    from placewise.files import check_output
    from placewise.findings_report import write_findings

    rows = _read(source, columns)
    if clean_path:
        cleaning.check_clean(rows, clean_path, source_path=source, force=force)
    if report:
        check_output(report, ".html")
    with _progress() as progress:
        examination = doctor.examine(rows, min_side=min_side, on_progress=progress.stage("validating"))
    cleaned = None
    refusal: SourceError | None = None
    if clean_path:
        try:
            cleaned = clean_path, cleaning.clean(rows, examination)
            cleaning.write_clean(rows, cleaned[1], clean_path, force=force)
        except SourceError as error:  # nothing is left: what was found says why
            refusal = error
    if as_json:
        fixed = {"fixed": show_findings.cleaned_json(*cleaned)} if cleaned else {}
        _print({"source": rows.shown, **doctor.to_json(examination), **fixed})
    else:
        _print(f"{rows.shown}\n\n{show_findings.examination_text(examination, source, cleaned, columns=columns)}")
    if report:
        write_findings(examination, rows, report, command=shlex.join(["placewise", *sys.argv[1:]]))
        click.echo(f"report: {report}", err=as_json)
    if refusal:
        raise refusal
    if examination.has_errors and not cleaned:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@app.command()
@_source
@click.argument("out", type=click.Path(path_type=Path), required=False)
@click.option("--open-set", default=0.2, show_default=True, help="The share of places that the gallery is not to hold.")
@click.option("--queries", default=0.3, show_default=True, help="The share of the other places' photos that ask.")
@click.option(
    "--seed", default=0, type=click.IntRange(min=0), show_default=True, help="Another seed, another division."
)
@_force
def split(
    source: Path, columns: str, out: Path | None, open_set: float, queries: float, seed: int, force: bool
) -> None:
    """Write a manifest that divides photos anew into gallery, known and open-set queries.

    Copies of one picture and frames of one sequence stay on one side, so that nothing leaks. Where photos have no
    places, whole sequences are divided, or else positions stand for places. Without OUT the manifest is split.csv in
    the folder SOURCE, or NAME-split.csv beside the file SOURCE.

    \b
    Example: placewise split photos --open-set 0.2 --seed 0
    """
    from placewise import show_findings
    from placewise.manifest import check_manifest, write_manifest
    from placewise.splitting import split_source

    rows = _read(source, columns)
    out = out or (source / "split.csv" if source.is_dir() else source.with_name(f"{source.stem}-split.csv"))
    check_manifest(rows, out, source_path=source, force=force)
    with _progress() as progress:
        photos = split_source(
            rows, open_set=open_set, queries=queries, seed=seed, on_progress=progress.stage("reading")
        )
    write_manifest(rows, photos, out, force=force)
    _print(f"{rows.shown}\n{show_findings.split_text(rows, photos, out)}")


@app.command()
@_source
@_gallery
@_model_options(of_gallery=True)
@_preset
@click.option(
    "--storage",
    type=click.Choice(["float32", "float16"]),
    help="How a new gallery keeps embeddings; float16 halves it. Default: float32.",
)
@click.option("--thumbnails/--no-thumbnails", default=None, help="Keep a small JPEG of each photo in the gallery.")
@click.option("--features/--no-features", default=None, help="Keep local features, by which hits are verified.")
@click.option("--prune", is_flag=True, help="Remove photos of this source's folder that it no longer names.")
@click.option("--prefix", default="", metavar="NAME", help="Put a folder before the photos' names in the gallery.")
@click.option(
    "--rehash",
    is_flag=True,
    help="Read every file, also where size and times are as they were; mends damaged local features.",
)
@click.option(
    "--calibrate/--no-calibrate",
    "calibrated",
    default=True,
    show_default=True,
    help="Learn at the end where UNKNOWN begins, if the gallery is not calibrated or has changed since.",
)
@_json
def index(
    source: Path,
    columns: str,
    gallery_path: Path,
    model: str | None,
    weights: Path | None,
    precision: Precision | None,
    decode: Decode | None,
    device: Device,
    look: Look,
    cache_path: Path | None,
    no_cache: bool,
    preset: str | None,
    storage: Storage | None,
    thumbnails: bool | None,
    features: bool | None,
    prune: bool,
    prefix: str,
    rehash: bool,
    calibrated: bool,
    as_json: bool,
) -> None:
    """Embed a source's gallery photos into a gallery file: what is new or changed.

    Photos that were moved or renamed are recognised by their content. An interrupted run resumes when it is started
    again. A large gallery gets an index for fast search beside it. At the end the gallery calibrates itself, as
    'placewise calibrate' does, where it holds places.

    \b
    Example: placewise index photos/manifest.csv --gallery city.gallery
    """
    from placewise import show
    from placewise.fitting import fit_model, model_for
    from placewise.gallery import Gallery
    from placewise.gallery_file import begun_card
    from placewise.presets import DEFAULT_PRESET

    rows = _read(source, columns)
    begun = begun_card(gallery_path) is not None
    embedder = model_for(
        gallery_path,
        model,
        preset=preset,
        look=look,
        weights=weights,
        precision=precision,
        decode=decode,
        device=device,
    )
    with _progress() as progress:
        embedder = fit_model(embedder, rows, on_progress=progress.stage("learning"))
    with (
        _cache(embedder, cache_path, no_cache=no_cache) as cache,
        Gallery.open_for(
            gallery_path,
            embedder,
            preset=preset or (None if begun else DEFAULT_PRESET),
            storage=storage,
            thumbnails=thumbnails,
            features=features,
        ) as opened,
        _progress() as progress,
    ):
        indexed = opened.add(rows, cache=cache, prefix=prefix, prune=prune, rehash=rehash, on_progress=progress.show)
        renewed = opened.renew_calibration(on_progress=progress.show) if calibrated else None
        held, stale, notes = len(opened), "" if renewed else opened.staleness, opened.notes
    text = f"{rows.shown}\n{show.indexed_text(indexed, gallery_path, held, renewed)}"
    _print({"source": rows.shown, **show.indexed_json(indexed, held, renewed, notes)} if as_json else text)
    for row in rows.bad_rows:
        _say(f"left out: {row.detail}")
    _complain(indexed.failures)
    made = renewed.calibration if renewed and renewed.done else None
    _note(stale, *notes, *(made.notes if made else ()))
    if indexed.failures or rows.bad_rows:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@app.command()
@click.argument("photos", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PHOTO...")
@_gallery
@click.option("-k", default=5, show_default=True, type=click.IntRange(min=1), help="Hits shown for each photo.")
@click.option("--tau", type=float, help="Below this plain similarity: UNKNOWN. Default: as the gallery is calibrated.")
@_weights
@click.option("--model", help=f"{_MODEL_HELP} Default: the model that made the gallery.")
@_device
@click.option(
    "--search",
    type=click.Choice(["auto", "exact", "ann"]),
    default="auto",
    show_default=True,
    help="auto: approximate where the gallery is large and has an index that fits.",
)
@click.option("--verify", type=int, metavar="N", help="Verify the geometry of N hits. Default: as the gallery ranks.")
@click.option("--place", "places", multiple=True, metavar="NAME", help="Search among the photos of this place only.")
@click.option("--sequence", "sequences", multiple=True, metavar="NAME", help="… of this sequence only.")
@click.option("--box", type=(float, float, float, float), metavar="S W N E", help="… in this box only, in degrees.")
@_json
def locate(
    photos: tuple[Path, ...],
    gallery_path: Path,
    k: int,
    tau: float | None,
    weights: Path | None,
    model: str | None,
    device: str,
    search: SearcherKind,
    verify: int | None,
    places: tuple[str, ...],
    sequences: tuple[str, ...],
    box: tuple[float, float, float, float] | None,
    as_json: bool,
) -> None:
    """Say which place each photo shows, or UNKNOWN.

    \b
    Example: placewise locate where.jpg --gallery city.gallery
    """
    from placewise import show
    from placewise.core import Filter
    from placewise.gallery_file import GalleryFile
    from placewise.locate import Locator
    from placewise.models import load_model_of

    among = Filter(places=places, box=box, sequences=sequences) if places or box or sequences else None
    with GalleryFile.open(gallery_path) as opened:
        embedder = load_model_of(
            opened.card,
            name=model or "",
            weights=weights,
            device=device,  # type: ignore[arg-type]  # click has checked it
            vocabulary=opened.vocabulary,
        )
        locator = Locator(opened, embedder, tau="calibrated" if tau is None else tau, searcher=search)
        answers, failures = locator.locate_many(photos, k=k, among=among, verify=verify)
        caution, notes = locator.caution, locator.notes
    if as_json:
        _print([show.answer_json(name, answer, notes) for name, answer in answers])
    else:
        for name, answer in answers:
            _print(show.answer_text(name, answer))
    _note(caution, *notes)
    _complain(failures)
    if failures:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@app.command()
@_gallery
@_rate
@click.option(
    "--labelled",
    type=click.Path(path_type=Path),
    metavar="SOURCE",
    help="Learn from real queries of which the place is known, some of it not in the gallery.",
)
@_confidence
@_json
def calibrate(
    gallery_path: Path,
    false_accept_rate: float,
    labelled: Path | None,
    confidence: Literal["auto", "similarity"],
    as_json: bool,
) -> None:
    """Learn where UNKNOWN begins, from the gallery alone, and say how often that will be wrong.

    Each photo asks the gallery twice: with its place in it, and with its whole place taken away. The threshold that
    comes of it is kept in the gallery, and 'placewise locate' decides by it.

    \b
    Example: placewise calibrate --gallery city.gallery --false-accept-rate 0.05
    """
    from placewise import show
    from placewise.evaluation import calibration_json
    from placewise.gallery import Gallery

    with Gallery.open(gallery_path) as opened, _progress() as progress:
        calibration = opened.calibrate(
            false_accept_rate=false_accept_rate, labelled=labelled, method=confidence, on_progress=progress.show
        )
    _print(calibration_json(calibration) if as_json else show.calibration_text(calibration, gallery_path))


_protocol = click.option(
    "--protocol",
    default="place",
    show_default=True,
    help="What is right: place, radius:25m, radius:25m:drop, frames:±10, pairs[:FILE], revisited, landmarks-gap.",
)
_exclude_last = click.option(
    "--exclude-last",
    type=click.IntRange(min=0),
    metavar="N",
    help="With pairs of one sequence: a frame is not compared with the N before it. Default: 50.",
)
_intervals = click.option(
    "--intervals/--no-intervals",
    default=True,
    show_default=True,
    help="Give each metric a 95 % interval for its value over all such places.",
)


@app.command()
@_source
@_protocol
@_exclude_last
@click.option("--tau", type=float, help="A fixed threshold on the plain similarity instead, as 0.5 was by design.")
@_rate
@_confidence
@_intervals
@_model_options()
@_preset
@click.option("--models", "names", default="", metavar="NAME,…", help="Compare these models on the same photos.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    help="Save the ranked hits here (.csv or .csv.gz) before scoring; 'placewise score' scores them again.",
)
@click.option("--top", default="100", show_default=True, metavar="N", help="Hits saved of each query; or all.")
@click.option("--answers", type=click.Path(path_type=Path), help="Save every answer here (JSON lines) before scoring.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a self-contained HTML report here.")
@click.option(
    "--validate/--no-validate",
    "validated",
    default=True,
    show_default=True,
    help="With --report: show there what 'placewise validate' finds, which decodes every photo once more.",
)
@click.option("--csv", "numbers", type=click.Path(path_type=Path), help="Write every number here.")
@_json
def evaluate(
    source: Path,
    columns: str,
    protocol: str,
    exclude_last: int | None,
    tau: float | None,
    false_accept_rate: float,
    confidence: Literal["auto", "similarity"],
    intervals: bool,
    model: str,
    weights: Path | None,
    precision: str,
    decode: str,
    device: str,
    look: Look,
    cache_path: Path | None,
    no_cache: bool,
    preset: str | None,
    names: str,
    predictions: Path | None,
    top: str,
    answers: Path | None,
    report: Path | None,
    validated: bool,
    numbers: Path | None,
    as_json: bool,
) -> None:
    """Run the whole pipeline on a labelled set and score it.

    Answers are decided as by a gallery that 'placewise index' has made: it calibrates itself, and the queries show what
    came of its promise. With a rate or a confidence they are decided as after 'placewise calibrate'.
    docs/evaluation.md explains the protocols.

    \b
    Example: placewise evaluate photos/manifest.csv --report out.html
    placewise evaluate frames/ --protocol frames:±10 --predictions p.csv
    placewise evaluate city-centre --protocol pairs --exclude-last 50
    """
    from placewise import show
    from placewise.contest import contest_json, contest_of, numbers_csv
    from placewise.evaluate import evaluate_source
    from placewise.figures import evaluation_json
    from placewise.files import check_output, write_atomically
    from placewise.presets import DEFAULT_PRESET, find_preset, look_for
    from placewise.report import write_report
    from placewise.scoring.protocols import find_protocol

    decided = _decided(tau, false_accept_rate, confidence)
    _only_without("models", bool(names), "model", "weights", "predictions", "answers")
    wanted_models = _each_once(names) if names else [model]
    if report:
        check_output(report, ".html")
    if numbers:
        check_output(numbers, ".csv")
    wanted = find_protocol(protocol, exclude_last=exclude_last)
    kept = _top(top)
    rows = _read(source, columns)
    chosen = find_preset(preset or DEFAULT_PRESET)
    looks = [look_for(name, chosen.look, look, precision) for name in wanted_models]
    embedders = [
        _load(name, weights, precision, decode, device, seen) for name, seen in zip(wanted_models, looks, strict=True)
    ]
    evaluations: list[Evaluation] = []
    with _progress() as progress:
        for embedder in embedders:
            with _cache(embedder, cache_path, no_cache=no_cache) as cache:
                evaluation = evaluate_source(
                    rows,
                    embedder,
                    protocol=wanted,
                    tau=decided,
                    stack=chosen.stack,
                    cache=cache,
                    predictions=predictions,
                    top=kept,
                    answers=answers,
                    intervals=intervals,
                    examine=validated and report is not None and not evaluations,
                    on_progress=progress.show,
                )
            evaluations.append(evaluation)
    if names:
        contest = contest_of(evaluations)
        _print(contest_json(contest, rows) if as_json else f"{rows.shown}\n{show.contest_text(contest)}")
    else:
        document = evaluation_json(evaluation, rows) if as_json else None
        _print(document or f"{rows.shown}\n{show.evaluation_text(evaluation)}")
    if numbers:
        write_atomically(numbers, numbers_csv(evaluations))
    command = shlex.join(["placewise", *sys.argv[1:]])
    if report and names:
        from placewise.contest_report import write_contest_report

        write_contest_report(contest, rows, report, command=command)
    elif report:
        write_report(evaluation, rows, report, command=command)
    if report:
        click.echo(f"report: {report}", err=as_json)
    _note(evaluation.uncalibrated, *evaluation.notes)
    _complain(evaluation.failures)
    if evaluation.failures:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@app.command()
@_source
@click.option("--model", default="efficientnet-lite0", show_default=True, help=_MODEL_HELP)
@_weights
@_device
@click.option(
    "--out", default="ablation.json", show_default=True, type=click.Path(path_type=Path), help="Keep the table here."
)
@_cache_options
@_json
def ablate(
    source: Path,
    columns: str,
    model: str,
    weights: Path | None,
    device: str,
    out: Path,
    cache_path: Path | None,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Measure what each step of the ranking is worth on a labelled set, and recommend a preset.

    Step by step, then with each step left out, then preset by preset: mAP, Recall@1, AUROC, milliseconds a query, bytes
    a photo, and the 95 % interval of the difference to the row named. A dearer preset is recommended where one of the
    three is better beyond chance and none is worse.

    \b
    Example: placewise ablate photos/manifest.csv
    """
    from placewise import show_scores
    from placewise.ablation import ablate_source, ablation_json, check_table, save_ablation
    from placewise.presets import usable_look

    check_table(out)
    rows = _read(source, columns)
    with _progress() as progress:
        found = ablate_source(
            rows,
            lambda look: _load(model, weights, "auto", "fast", device, usable_look(model, look)),
            caching=lambda embedder: _cache(embedder, cache_path, no_cache=no_cache),
            on_progress=progress.show,
        )
    save_ablation(found, out)
    _print(ablation_json(found) if as_json else f"{rows.shown}\n{show_scores.ablation_text(found)}\nkept in {out}")
    _complain(found.failures)
    if found.failures:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@app.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    required=True,
    metavar="SOURCE",
    help="What is right: a source, or a solution of Google Landmarks.",
)
@_columns
@_protocol
@_exclude_last
@click.option("--tau", type=float, help="Below this confidence an answer is UNKNOWN.")
@click.option(
    "--usage",
    type=click.Choice(["public", "private", "all"]),
    default="all",
    show_default=True,
    help="Which queries of a solution of Google Landmarks count.",
)
@_intervals
@_json
def score(
    predictions: Path,
    truth: Path,
    columns: str,
    protocol: str,
    exclude_last: int | None,
    tau: float | None,
    usage: Literal["public", "private", "all"],
    intervals: bool,
    as_json: bool,
) -> None:
    """Score anyone's predictions: a CSV file with query, path, and rank or similarity. No model is loaded.

    \b
    Example: placewise score predictions.csv --truth photos/manifest.csv --protocol place
    """
    from placewise import show_scores
    from placewise.evaluation import scores_json
    from placewise.scoring.protocols import find_protocol
    from placewise.scoring.scored_files import score_predictions

    wanted = find_protocol(protocol, exclude_last=exclude_last)
    scores = score_predictions(
        predictions, truth, protocol=wanted, tau=tau, intervals=intervals, columns=_pairs(columns), usage=usage
    )
    _print(scores_json(scores) if as_json else show_scores.scores_text(scores))


@app.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@_json
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Say whether one of two models is better on the same queries, and how sure that is.

    FIRST and SECOND are what 'placewise evaluate --json' or 'placewise score --json' printed.

    \b
    Example: placewise compare a.json b.json
    """
    from placewise import show_scores
    from placewise.scoring.compared_files import compare_files
    from placewise.scoring.comparing import comparison_json

    comparison = compare_files(first, second)
    _print(comparison_json(comparison) if as_json else show_scores.comparison_text(comparison))


@app.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Models: dimension, licence, size, source, installed or not.

    \b
    Example: placewise models list
    """
    if context.invoked_subcommand is None:
        context.invoke(models_list)


@models.command("list")
@_json
def models_list(as_json: bool = False) -> None:
    """List every model, whether its weights are on this machine, and what they are checked against.

    \b
    Example: placewise models list
    """
    from placewise import show
    from placewise.models import MODELS, installed_weights

    rows = [(card, installed_weights(card)) for card in MODELS.values()]
    _print([show.model_json(*row) for row in rows] if as_json else show.models_text(rows))


@models.command("pull")
@click.argument("name")
def models_pull(name: str) -> None:
    """Download a model's weights and check their hash. The only command that uses the network.

    Where no hash is published, that of the first pull is recorded beside the weights, and later pulls and runs must
    agree with it.

    \b
    Example: placewise models pull resnet50
    """
    from placewise import show
    from placewise.folders import models_folder
    from placewise.models import find_card, installed_weights
    from placewise.models.cards import check_has_weights
    from placewise.models.digests import check_of
    from placewise.models.download import pull, verify

    card = find_card(name)
    check_has_weights(card)
    path = installed_weights(card)
    if path is None:
        click.echo(f"{card.source}: {show.megabytes(card.size_bytes)}, licence: {card.licence}", err=True)
        with _progress() as progress:
            path = pull(card, models_folder(), on_size=_say_size(card), on_progress=progress.stage("pulling"))
    else:
        verify(card, path)
    _print(f"{name}: {path}\nSHA-256: {check_of(card.weights_file)}")


@models.command("quantise")
@_source
@click.option("--model", default="efficientnet-lite0", show_default=True, help=_MODEL_HELP)
@_weights
@click.option("--photos", default=300, show_default=True, help="Gallery photos to calibrate and to measure on.")
@_json
def models_quantise(source: Path, columns: str, model: str, weights: Path | None, photos: int, as_json: bool) -> None:
    """Make a model's 8-bit variant, calibrated on a source's gallery photos, and print what it costs and gains.

    Two of three photos calibrate, the third measures. Needs NNCF: pip install 'placewise[int8]'.

    \b
    Example: placewise models quantise photos/manifest.csv
    """
    from placewise import quantise

    rows = _read(source, columns)
    with _progress() as progress:
        quantised = quantise.quantise_model(rows, model, weights=weights, photos=photos, on_progress=progress.show)
    _print(quantise.to_json(quantised) if as_json else quantise.to_text(quantised))
    _complain(quantised.failures)
    if quantised.failures:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@app.group()
def gallery() -> None:
    """Housekeeping of gallery files.

    \b
    Example: placewise gallery info city.gallery
    """


_gallery_file = click.argument("gallery_path", metavar="GALLERY", type=click.Path(path_type=Path))


@gallery.command("info")
@_gallery_file
@click.option(
    "--check",
    is_flag=True,
    help="Check the whole file, embeddings and local features included; exits with 1 if damaged.",
)
@_json
def gallery_info(gallery_path: Path, check: bool, as_json: bool) -> None:
    """Say what a gallery holds and which model made it.

    \b
    Example: placewise gallery info city.gallery --check
    """
    from placewise import show
    from placewise.gallery_file import GalleryFile
    from placewise.housekeeping import gallery_faults
    from placewise.housekeeping import gallery_info as info_of

    with GalleryFile.open(gallery_path) as opened:
        info = info_of(opened)
        faults = gallery_faults(opened) if check else None
    _print({**info, **({} if faults is None else {"faults": faults})} if as_json else show.info_text(info, faults))
    if faults:
        raise click.exceptions.Exit(_DATA_HAS_ERRORS)


@gallery.command("ann")
@_gallery_file
@_json
def gallery_ann(gallery_path: Path, as_json: bool) -> None:
    """Build the index for approximate search beside a gallery, and measure its recall on the gallery's own photos.

    'placewise index' does this by itself for a large gallery.

    \b
    Example: placewise gallery ann city.gallery
    """
    from placewise import show
    from placewise.gallery_file import GalleryFile
    from placewise.search.sidecar import ann_path, build_ann, report_json

    with GalleryFile.open(gallery_path) as opened, _progress() as progress:
        report = report_json(build_ann(opened, on_progress=progress.stage("ann index")))
    _print(report if as_json else f"{ann_path(gallery_path)}\n{show.pairs(report)}")


@gallery.command("export")
@_gallery_file
@click.argument("out", type=click.Path(path_type=Path))
def gallery_export(gallery_path: Path, out: Path) -> None:
    """Write embeddings, paths, places and how the gallery ranks and decides to a NumPy archive.

    Thumbnails, local features and what is known of the photos' files are left out.

    \b
    Example: placewise gallery export city.gallery city.npz
    """
    from placewise.archive import export_npz, left_behind
    from placewise.gallery_file import GalleryFile

    with GalleryFile.open(gallery_path) as opened:
        count, notes = export_npz(opened, out), left_behind(opened)
    _print(f"{out}: {count} photos")
    _note(*notes)


@gallery.command("import")
@_gallery_file
@click.argument("archive", type=click.Path(path_type=Path))
@_weights
@click.option("--model", help="The model that made the embeddings, where the archive does not say.")
def gallery_import(gallery_path: Path, archive: Path, weights: Path | None, model: str | None) -> None:
    """Read a NumPy archive of embeddings and paths into a gallery.

    A gallery that is made ranks and decides as the exported one did, where the archive says how; one that is there
    goes on as it does.

    \b
    Example: placewise gallery import city.gallery city.npz
    """
    from placewise.archive import import_npz
    from placewise.gallery_file import GalleryFile
    from placewise.gallery_ranking import current_ranking
    from placewise.presets import preset_seen

    if weights and not model:
        message = f"weights must come with --model, got {weights} alone; name the model too"
        raise OptionError(message)
    card = _load(model, weights).card if model else None
    count = import_npz(archive, gallery_path, card=card)
    _print(f"{gallery_path}: {count} photos imported")
    with GalleryFile.open(gallery_path) as opened:
        seen = "" if opened.preset else preset_seen(opened.card)
        _note(current_ranking(opened).lack)
    if seen:
        _note(f"it ranks by plain similarity; photos are seen as by {seen}: 'placewise index --preset {seen}' ranks so")


@gallery.command("remove")
@_gallery_file
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--place", "places", multiple=True, metavar="NAME", help="Remove the photos of this place.")
@click.option("--glob", "globs", multiple=True, metavar="PATTERN", help="Remove paths like 'trip2/*'; * is also for /.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
def gallery_remove(
    gallery_path: Path, paths: tuple[str, ...], places: tuple[str, ...], globs: tuple[str, ...], dry_run: bool
) -> None:
    """Remove photos from a gallery by the paths that it knows them by, by place or by pattern.

    The photo files are not touched.

    \b
    Example: placewise gallery remove city.gallery town_hall/003.jpg
    """
    from placewise.gallery import Gallery

    if not (paths or places or globs):
        message = "photos to remove must be named by PATH, --place or --glob, got none; name some"
        raise OptionError(message)
    with Gallery.open(gallery_path) as opened:
        find = opened.matching if dry_run else opened.remove
        found = find(paths, places=places, globs=globs)
        held = len(opened)
    for path in found if dry_run else ():
        _print(path)
    for path in sorted(set(paths) - set(found)):
        click.echo(f"not in the gallery: {path}", err=True)
    _print(f"{gallery_path}: {len(found)} photos {'would be ' if dry_run else ''}removed, {held} held")


@gallery.command("merge")
@_gallery_file
@click.argument("others", metavar="OTHER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--prefix", default="", metavar="NAME", help="Put a folder before the other galleries' photo names.")
def gallery_merge(gallery_path: Path, others: tuple[Path, ...], prefix: str) -> None:
    """Add the photos of other galleries of the same model to a gallery.

    Photos that are there already, with the same name and content, are left as they are. Where a name stands for
    different photos, nothing is changed. The gallery goes on to rank as it does, whatever the others do.

    \b
    Example: placewise gallery merge city.gallery suburb.gallery
    """
    from placewise.gallery import Gallery
    from placewise.gallery_file import GalleryFile
    from placewise.gallery_ranking import current_ranking

    with Gallery.open(gallery_path) as opened:
        for other in others:
            merged = opened.merge(other, prefix=prefix)
            _print(f"{other}: {merged.added} photos added, {merged.present} there already")
            if merged.ranked_otherwise:
                _note(f"{other} ranks in another way; {gallery_path} goes on in its own")
        _print(f"{gallery_path} holds {len(opened)} photos")
    with GalleryFile.open(gallery_path) as file:
        _note(current_ranking(file).lack)


@app.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default="placewise-demo", show_default=True, help="Where to put it all."
)
@click.option("--seed", default=0, show_default=True, help="Another seed, another town.")
@click.option(
    "--tau", type=float, help="Below this plain similarity: UNKNOWN. Default: as the gallery calibrates itself."
)
@_json
def demo(out: Path, seed: int, tau: float | None, as_json: bool) -> None:
    """Render a small synthetic town and run everything on it.

    \b
    Example: placewise demo
    """
    from placewise import show
    from placewise.demo import run_demo
    from placewise.figures import evaluation_json
    from placewise.presets import DEFAULT_PRESET, find_preset

    chosen = find_preset(DEFAULT_PRESET)
    embedder = _load("efficientnet-lite0", None, look=chosen.look)
    with _progress() as progress:
        result = run_demo(out, embedder, seed=seed, tau=tau, stack=chosen.stack, on_progress=progress.show)
    if as_json:
        answers = [show.answer_json(str(photo.path), answer) for photo, answer in result.answers]
        _print({**evaluation_json(result.evaluation, result.source), "answers": answers, "report": str(result.report)})
    else:
        _print(show.demo_text(result))


def _say_size(card: ModelCard) -> Callable[[int], None] | None:
    """What says the size when the server has told it, for cards that do not know it."""
    from placewise import show

    def say(size_bytes: int) -> None:
        click.echo(f"the server has {show.megabytes(size_bytes)}", err=True)

    return say if card.size_bytes is None else None


# ---- what commands share --------------------------------------------------------------------------------------------


def _read(path: Path, columns: str) -> Source:
    """Read a source, whose columns may have other names."""
    from placewise.sources import read_source

    return read_source(path, columns=_pairs(columns))


def _pairs(columns: str) -> dict[str, str]:
    """Our names of a table's columns → the table's."""
    pairs = [pair.partition("=") for pair in columns.split(",") if pair]
    if not all(ours and theirs for ours, _, theirs in pairs):
        message = f"--columns must be pairs like place=landmark_id, separated by commas, got {columns!r}"
        raise OptionError(message)
    names = [ours.strip() for ours, *_ in pairs]
    if len(set(names)) < len(names):
        message = f"--columns must name each of our columns once, got {columns!r}"
        raise OptionError(message)
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _only_without(option: str, given: bool, *others: str) -> None:
    """Refuse options that mean nothing beside another."""
    for other in others:
        if given and _is_named(other):
            message = f"--{option} must come without --{other.replace('_', '-')}, got both; leave one out"
            raise OptionError(message)


def _decided(
    tau: float | None, false_accept_rate: float, confidence: Literal["auto", "similarity"]
) -> float | Aim | Literal["calibrated"]:
    """What the user wants to be decided by; if nothing was said, as a gallery decides that `index` has made."""
    from placewise.openset import Aim

    _only_without("tau", tau is not None, "false_accept_rate", "confidence")
    if tau is not None:
        return tau
    return Aim(false_accept_rate, confidence) if _is_named("false_accept_rate", "confidence") else "calibrated"


def _is_named(*options: str) -> bool:
    """Whether the user typed any of these options."""
    source_of = click.get_current_context().get_parameter_source
    return any(source_of(option) is click.core.ParameterSource.COMMANDLINE for option in options)


def _top(text: str) -> int | None:
    """A number of hits; None for all."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        message = f"--top must be a number of hits or all, got {text!r}"
        raise OptionError(message)
    return int(text)


def _each_once(names: str) -> list[str]:
    """The models that are to be compared."""
    found = [name.strip() for name in names.split(",")]
    if "" in found or len(set(found)) < len(found):
        message = f"--models must name each model once, got {names!r}; separate different names by commas"
        raise OptionError(message)
    return found


def _load(
    model: str,
    weights: Path | None,
    precision: str = "auto",
    decode: str = "fast",
    device: str = "auto",
    look: Look | None = None,
) -> Embedder:
    from placewise.models import load_model

    return load_model(
        model,
        look=look,
        weights=weights,
        precision=precision,  # type: ignore[arg-type]  # click has checked these
        decode=decode,  # type: ignore[arg-type]
        device=device,  # type: ignore[arg-type]
    )


def _cache(embedder: Embedder, path: Path | None, *, no_cache: bool) -> AbstractContextManager[Cache | None]:
    from placewise.cache import Cache
    from placewise.errors import CacheError
    from placewise.folders import cache_folder

    if no_cache:
        return nullcontext()
    if path:
        return Cache(path, embedder)
    try:
        return Cache(cache_folder() / "embeddings.sqlite", embedder)
    except CacheError as error:  # nobody asked for it by name: it is only a convenience
        click.echo(f"going on without a cache: {error}", err=True)
        return nullcontext()


class _Progress:
    """One bar on standard error, replaced when the stage changes; silent where no one watches."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def show(self, stage: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if stage != self._stage:
            self.close()
            self._bar, self._stage = click.progressbar(length=total, label=stage.ljust(10), file=sys.stderr), stage
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos)

    def stage(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.show(name, done, total)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)


@contextmanager
def _progress() -> Iterator[_Progress]:
    progress = _Progress()
    try:
        yield progress
    finally:
        progress.close()


def _print(document: object) -> None:
    click.echo(document if isinstance(document, str) else json.dumps(document, indent=2, ensure_ascii=False))


def _note(*notes: str) -> None:
    for note in filter(None, notes):
        _say(f"note: {note}")


def _complain(failures: Sequence[Failure]) -> None:
    for failure in failures:
        _say(f"left out: {failure.photo.path}: {failure.reason}")


def _say(message: str) -> None:
    """One line on standard error that a terminal does not obey: names of files may hold anything."""
    from placewise.page import plain

    click.echo(plain(" ".join(message.splitlines())), err=True)


# ---- the service, in a module of its own -----------------------------------------------------------------------------

app.add_command(serve)
app.add_command(keys)


# ---- the one place where errors become exit codes --------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    warnings.filterwarnings("ignore", module="PIL")  # of damaged EXIF data, of which the photo's pixels know nothing
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a place may have a name that a terminal cannot show
    try:
        code = app.main(args=arguments, prog_name="placewise", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 0
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        command = where.command_path if where else "placewise"
        code = _refuse(f"{error.format_message()} Type '{command} --help' for what it takes.")
    except PlacewiseError as error:
        code = _refuse(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: what was committed is kept; type the same command again to go on", err=True)
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last line of defence: a bug gets one line too
        code = _unexpected(error)
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning in one line, without the place in the code that it came from."""
    click.echo(f"note: {message}", err=True)


def _refuse(message: str) -> int:
    _say(f"error: {message}")
    return _REFUSED


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.filename is None:  # files have names: this is standard output
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has seen enough
            return 0
        return _refuse(f"standard output must be writable, got {error.strerror}; write to another place")
    if os.environ.get("PLACEWISE_DEBUG"):
        raise error
    return _refuse(
        f"this is a bug in placewise, {type(error).__name__}: {error}; set PLACEWISE_DEBUG=1 to see where and report it"
    )
