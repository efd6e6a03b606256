"""The whole pipeline on a synthetic town: what a new user sees first, and what proves an installation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from placewise import doctor, report
from placewise.cache import Cache
from placewise.calibrating import calibrate_gallery
from placewise.errors import ModelMismatchError, OptionError
from placewise.evaluate import evaluate_source
from placewise.gallery_file import GalleryFile
from placewise.indexing import Indexed, index_source
from placewise.locate import Locator
from placewise.openset import Aim, check_tau
from placewise.rank import NO_STACK
from placewise.sources import read_source
from placewise.town import render_town

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from placewise.core import Answer, Embedder, Photo, Source
    from placewise.doctor import Examination
    from placewise.evaluation import Evaluation
    from placewise.rank import Stack

FALSE_ACCEPT_RATE = 0.10
"""What the demo's gallery is calibrated for: a dozen places can promise no less."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Everything that the demo made and found."""

    manifest: Path
    source: Source
    gallery: Path
    report: Path
    examination: Examination
    indexed: Indexed
    evaluation: Evaluation
    answers: tuple[tuple[Photo, Answer], ...]


def run_demo(
    folder: Path,
    embedder: Embedder,
    *,
    seed: int = 0,
    tau: float | None = None,
    stack: Stack = NO_STACK,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Demo:
    """Render a town into ``folder``, then validate, index, locate, evaluate and report on it.

    Args:
        folder: receives photos, manifest, gallery, cache and report, in a folder for each seed; made where it is
            missing, refused where it holds anything else.
        embedder: the model.
        seed: another seed, another town.
        tau: below this plain similarity an answer is UNKNOWN; None calibrates the gallery on itself.
        stack: how the gallery ranks.
        on_progress: called with (stage, done, in all).
    """

    def stage(name: str) -> Callable[[int, int], None]:
        return lambda done, total: on_progress(name, done, total) if on_progress else None

    if tau is not None:
        check_tau(tau)
    _claim(folder)
    folder = folder / f"town-{seed}"  # towns must not mix: a gallery keeps what it is not told to forget
    manifest = render_town(folder, seed=seed, on_progress=stage("render"))
    source = read_source(manifest)
    examination = doctor.examine(source, on_progress=stage("validate"))
    with (
        Cache(folder / "embeddings.cache", embedder) as cache,
        _own_gallery(folder / "town.gallery", embedder) as gallery,
    ):
        gallery.put_ranking(stack.to_json())
        indexed = index_source(source, gallery, embedder, cache=cache, on_progress=stage("index"))
        if tau is None:
            calibrate_gallery(gallery, aim=Aim(FALSE_ACCEPT_RATE), on_progress=stage("calibrate"))
        locator = Locator(gallery, embedder, tau="calibrated" if tau is None else tau)
        answers = tuple((photo, locator.locate(source.file(photo), k=3)) for photo in _examples(source))
        evaluation = evaluate_source(
            source,
            embedder,
            tau=Aim(FALSE_ACCEPT_RATE) if tau is None else tau,
            stack=stack,
            cache=cache,
            on_progress=on_progress,
        )
    page = folder / "report.html"
    evaluation = replace(evaluation, examination=examination)
    report.write_report(evaluation, source, page, title=f"Synthetic town {seed}")
    return Demo(manifest, source, folder / "town.gallery", page, examination, indexed, evaluation, answers)


def _claim(folder: Path) -> None:
    """Mark a folder as the demo's own; refuse one that holds something else."""
    mark = folder / "placewise-demo.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(folder.iterdir()):
            message = (
                f"the demo's folder must be new, empty or an earlier demo's, got {folder}; name another with --out"
            )
            raise OptionError(message)
        mark.write_text("Everything in this folder was made by 'placewise demo' and may be deleted.\n", "utf-8")
    except OSError as error:
        message = f"the demo's folder must be writable, got {folder}: {error.strerror}; name another with --out"
        raise OptionError(message) from error


def _own_gallery(path: Path, embedder: Embedder) -> GalleryFile:
    """The demo's gallery; one of an earlier version, which saw photos in another way, is begun anew."""
    try:
        return GalleryFile.open_for(path, embedder.card)
    except ModelMismatchError:
        path.unlink()
        return GalleryFile.open_for(path, embedder.card)


def _examples(source: Source) -> tuple[Photo, ...]:
    """Two queries of different known places and one open-set query."""
    places = {photo.place for photo in source.of("gallery")}
    known = {photo.place: photo for photo in source.of("query") if photo.place in places}
    unknown = [photo for photo in source.of("query") if photo.place not in places]
    return (*list(known.values())[:2], *unknown[:1])
