"""image → Answer: the read path from one query photo to KNOWN with a place, or UNKNOWN."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from placewise import images, rank
from placewise.calibrating import deciding, rule_for, staleness
from placewise.checking import CheckedHits, check_all, compare, features_of
from placewise.core import FileState, Neighbors, Photo, Source
from placewise.embed import Seen, embed_photos
from placewise.errors import FeaturesMissingError, ImageError, OptionError
from placewise.features import Features
from placewise.gallery_file import are_unit_rows
from placewise.gallery_ranking import ranking_of, steps_text
from placewise.kept_features import KeptFeatures, extracting, lack_of
from placewise.openset import CalibratedRule
from placewise.rank import Verify, islands_of, open_ranker
from placewise.search import ExactSearcher
from placewise.search.sidecar import SearcherKind, open_searcher
from placewise.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from placewise.checking import Checks
    from placewise.core import Answer, Embedder, Embeddings, Filter, Tau
    from placewise.embed import Failure
    from placewise.gallery_file import GalleryFile
    from placewise.openset import Calibration, Rule, Verdict
    from placewise.photo_table import PhotoTable
    from placewise.rank import Asked, Ranker
    from placewise.verify import Verification


class Locator:
    """A gallery ready to be searched, and the model that made it. Threads may share it.

    An exact search answers from the gallery as it was when the locator was made or last refreshed. What is read only
    when it is wanted, embeddings and places by an approximate search and the local features of hits, is that of the
    photos of then which are still there: one that has been removed since is no hit of an approximate search, is not
    verified, and is missing in the mean of a place that is read later. Nothing that came since has a part in an answer.
    """

    def __init__(
        self,
        gallery: GalleryFile,
        embedder: Embedder,
        *,
        tau: Tau = "calibrated",
        searcher: SearcherKind = "auto",
    ) -> None:
        """Load what a search needs.

        Args:
            gallery: an open gallery; it must stay open, since an ANN index and `refresh` read from it.
            embedder: the model that the gallery was made with.
            tau: ``calibrated`` decides as the gallery was calibrated, and by `openset.DEFAULT_TAU` where it was not; a
                number is a threshold on the plain similarity of the best hit, the cosine of the embeddings whatever
                the gallery ranks by; None leaves the decision to the caller.
            searcher: ``exact``, ``ann`` (approximate, from the index beside the gallery), or ``auto``: ``ann`` for a
                large gallery that has an index that fits.

        Raises:
            ModelMismatchError: if the gallery holds another model's embeddings.
            GalleryError: if it is damaged, or ``ann`` is asked for and there is no index that fits.
            CalibrationError: if the calibration is damaged, or none of the photos that it rests on is left.
            OptionError: if tau is no cosine.
        """
        gallery.check_model(embedder.card)
        self._tau: Tau = tau
        self._gallery, self._embedder, self._kind = gallery, embedder, searcher
        self._turns, self._asked = Turns(), False
        self._load()

    def _load(self) -> None:
        with self._gallery.reading():
            table = self._gallery.table()
            searcher = open_searcher(self._gallery, table.ids, self._kind)
            ranking = ranking_of(self._gallery, table, approximate=not isinstance(searcher, ExactSearcher))
            stack = ranking.stack
            fixed = self._tau is not None and (self._tau != "calibrated" or deciding(self._gallery, stack) is None)
            ranker = open_ranker(self._gallery, table, stack, searcher, plain=fixed)
            decision = self._decision(table, ranker)
            self._ranker, self._ranking = ranker, ranking
            self._verify, self._islands = stack.step(Verify), islands_of(stack, table)
            self._take(table, decision)

    def _decision(self, table: PhotoTable, ranker: Ranker) -> tuple[str | None, Rule, NDArray[np.int64]]:
        """The calibration's text, the rule, and what each photo shows, as the gallery is now."""
        return self._gallery.calibration, *rule_for(self._gallery, table, self._tau, ranker=ranker)

    def _take(self, table: PhotoTable, decision: tuple[str | None, Rule, NDArray[np.int64]]) -> None:
        self._revision, self._table = self._gallery.revision, table
        self._kept = KeptFeatures(self._gallery)
        self._calibration, self._rule, self._codes = decision
        some = self._rule.labelled_only and (self._codes < 0).any()
        self._labelled = table.ids[self._codes >= 0] if some else None

    def refresh(self) -> bool:
        """Bring in what was written to the gallery since; returns whether anything was. Searches wait meanwhile.

        Raises:
            CalibrationError: as on construction; then it goes on as it was.
            GalleryError: likewise.
        """
        with self._turns.writing(), self._gallery.reading():
            if (self._gallery.revision, self._gallery.calibration) == (self._revision, self._calibration):
                return False
            if not self._follow():  # another file has come to this path, or what was learned is of other photos
                self._load()
        return True

    def _follow(self) -> bool:
        """Bring in photos that came and went where the same steps are taken after that; returns whether they are."""
        if not self._ranker.follows or self._gallery.changes_since(self._revision) is None:
            return False
        table = self._gallery.table()
        ranking = ranking_of(self._gallery, table, approximate=not self.exact)
        if ranking.stack != self._ranker.stack:
            return False
        decision = self._decision(table, self._ranker)
        self._ranker.follow(table)
        self._ranking = ranking
        self._take(table, decision)
        return True

    @property
    def exact(self) -> bool:
        """Whether it searches exactly."""
        return isinstance(self._ranker.searcher, ExactSearcher)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which steps of the gallery's ranking are left out, and why, and what is `unverified`, a line each."""
        return tuple(dict.fromkeys((*self._ranking.notes, *self.unverified)))

    @property
    def unverified(self) -> tuple[str, ...]:
        """Why hits could not be verified up to now: photos without local features, if that was asked, and `damage`."""
        return tuple(filter(None, [lack_of(self._gallery) if self._asked else "", self.damage]))

    @property
    def damage(self) -> str:
        """Which hits could not be verified up to now since their stored features are damaged, and what mends them.

        One line; empty if all could. Such a hit is ranked and judged as one of which no features are kept.
        """
        damage = self._kept.damage
        return f"not verified: {damage}" if damage else ""

    @property
    def calibration(self) -> Calibration | None:
        """The calibration that decides; None where none does, as where the gallery's is of another ranking."""
        return self._rule.calibration if isinstance(self._rule, CalibratedRule) else None

    @property
    def caution(self) -> str:
        """What to know of the decisions: that the gallery is not calibrated, or has changed since; empty if nothing."""
        if self.calibration:
            return staleness(self._gallery, self.calibration, self._ranker.stack)
        if self._tau == "calibrated":
            how = f" for its ranking by {steps_text(self._ranker.stack)}" if self._calibration else ""
            return (
                f"the gallery is not calibrated{how}: tau {self._rule.tau:.2f} on the plain similarity is a convention "
                f"that promises nothing; run 'placewise calibrate'"
            )
        return ""

    @property
    def verified(self) -> int:
        """Of how many hits geometry is verified, as the gallery ranks."""
        return self._verify.hits if self._verify else 0

    def verifies(self, hits: int | None = None) -> bool:
        """Whether a query needs local features: to verify so many of its hits, or, if None, as the gallery ranks.

        Raises:
            OptionError: if that is no number of hits.
            FeaturesMissingError: if no photo of the gallery has local features.
        """
        return any(self._steps(hits))

    def verifications(self, hits: int | None = None) -> int:
        """How many hits of a query are verified: to show them, and to decide where that is by other ones."""
        return sum(step.hits for step in set(self._steps(hits)) if step)

    def _steps(self, hits: int | None) -> tuple[Verify | None, Verify | None]:
        """How hits to show are verified, and hits to decide by: a calibration is of the gallery's own ranking."""
        shown = self._verify if hits is None else self._step_of(hits)
        return shown, self._verify if isinstance(self._rule, CalibratedRule) else shown

    def _step_of(self, hits: int) -> Verify | None:
        if not hits:
            return None
        if len(self._table) and not self._gallery.has_features:
            message = (
                f"a gallery must hold local features to verify {hits} hits, got none in {self._gallery.path}; "
                f"{extracting(self._gallery)}"
            )
            raise FeaturesMissingError(message)
        self._asked = True
        return Verify(hits)

    def locate(
        self, photo: Path | str | bytes, *, k: int = 5, among: Filter | None = None, verify: int | None = None
    ) -> Answer:
        """Answer for one photo, given as a file's path or as its bytes, with up to ``k`` hits.

        Args:
            photo: the query.
            k: how many hits.
            among: which gallery photos may be hits; all if None.
            verify: of how many of the best hits geometry is verified, which orders them; as the gallery's ranking says
                if None. A calibrated gallery decides by its own ranking whatever is shown.

        Raises:
            ImageError: if it cannot be decoded.
            OptionError: if k is below 1, or the filter names a place or sequence that the gallery does not hold.
            FeaturesMissingError: if hits are to be verified and no photo of the gallery has local features.
        """
        data = photo if isinstance(photo, bytes) else images.read_bytes(Path(photo))
        embedding = self._embedder.infer([self._embedder.read(data)])
        features = [features_of(data)] if self.verifies(verify) else None
        if not are_unit_rows(embedding).all():
            message = "the network finds nothing in the photo to embed; take another photo"
            raise ImageError(message, kind="unusable")
        (answer,) = self.answers(embedding, k=k, among=among, features=features, verify=verify)
        return answer

    def locate_many(
        self, paths: Sequence[Path | str], *, k: int = 5, among: Filter | None = None, verify: int | None = None
    ) -> tuple[tuple[tuple[str, Answer], ...], tuple[Failure, ...]]:
        """Answer for many photo files: (path, answer) of each that can be decoded, and the failures of the others."""
        photos = tuple(Photo(PurePosixPath(Path(path).as_posix()), "query") for path in paths)
        source = Source(Path(), photos)
        answers: list[tuple[str, Answer]] = []
        failures: list[Failure] = []
        for batch in embed_photos(source, photos, self._embedder, reader=partial(self._read, self.verifies(verify))):
            features = [Features.from_bytes(state.features) if state.features else None for state in batch.states]
            found = self.answers(batch.embeddings, k=k, among=among, features=features, verify=verify)
            answers += [(str(photo.path), answer) for photo, answer in zip(batch.photos, found, strict=True)]
            failures += batch.failures
        return tuple(answers), tuple(failures)

    def _read(self, verified: bool, photo: Photo) -> Seen:  # noqa: FBT001
        """The input of a query, with its local features where hits are verified."""
        data = images.read_bytes(Path(photo.path))
        features = features_of(data).to_bytes() if verified else None
        return Seen(photo, FileState(features=features), input=self._embedder.read(data))

    def answers(
        self,
        embeddings: Embeddings,
        *,
        k: int = 5,
        among: Filter | None = None,
        features: Sequence[Features | None] | None = None,
        verify: int | None = None,
    ) -> tuple[Answer, ...]:
        """Answer for embedded queries ``(Q, dim)``, each with up to ``k`` hits.

        Where hits are verified, that needs the queries' local ``features``; without them hits are in the order of their
        similarities, and nothing of geometry speaks for them. See `locate` and `verifies`.
        """
        steps = self._steps(verify)
        if k < 1:
            message = f"k must be at least 1, got {k}"
            raise OptionError(message)
        with self._turns.reading():
            ids = None if among is None else self._table.ids_of(among)
            asked = self._ranker.ask(embeddings, among=ids)
            found, judged = self._hits(asked, k, ids, steps if features else (None, None), features or ())
            seen, similarities, geometry = judged.first(self._rule.hits)
            if self._rule.plain:
                similarities = self._ranker.plain(asked, Neighbors(seen, similarities))
            codes = self._codes[self._table.rows_of(seen)]
            verdicts = self._rule.judge(asked.vectors, similarities, codes, geometry)
            return tuple(
                rank.answer(
                    found.ids[number, :k],
                    found.similarities[number, :k],
                    self._table.photo,
                    verdict,
                    named=_named(seen[number], verdict),
                    tau=self._rule.tau,
                    inliers=None if found.inliers is None else found.inliers[number, :k],
                )
                for number, verdict in enumerate(verdicts)
            )

    def _hits(
        self,
        asked: Asked,
        k: int,
        ids: NDArray[np.int64] | None,
        steps: tuple[Verify | None, Verify | None],
        features: Sequence[Features | None],
    ) -> tuple[CheckedHits, CheckedHits]:
        """The hits to show and those to judge by, verified where that is wanted and there is what it needs."""
        wanted = self._rule.hits
        shown, deciding = steps
        verified = max(step.hits if step else 0 for step in steps)
        found = judged = self._ranker.search(asked, max(k, wanted, verified), among=ids)
        if self._labelled is not None:  # photos without a place may be hits, but prove nothing
            labelled = self._labelled if ids is None else np.intersect1d(ids, self._labelled)
            judged = self._ranker.search(asked, max(wanted, verified), among=labelled)
        known: list[Checks] = [{} for _ in features]
        first = self._check_all(found, features, shown, known)
        if deciding == shown:
            return first, first if judged is found else self._check_all(judged, features, shown, known)
        return first, self._check_all(judged, features, deciding, [{} for _ in features])

    def _check_all(
        self, found: Neighbors, features: Sequence[Features | None], step: Verify | None, known: Sequence[Checks]
    ) -> CheckedHits:
        """Verify hits, supported by the frames beside them where the gallery's photos are frames."""
        if step is None:
            return CheckedHits(found.ids, found.similarities)
        support: list[NDArray[np.float64] | None] = [None] * len(features)
        if self._islands is not None:
            rows = zip(self._table.rows_of(found.ids), found.similarities, strict=True)
            support = [self._islands.support(hits, near, step.hits) for hits, near in rows]
        return check_all(found, features, step, self._kept.usable, known, support)

    def features_of(self, number: int) -> Features | None:
        """The local features that the gallery keeps of a photo, given by its id; None where it keeps none.

        Raises:
            FeaturesDamagedError: if they are not what was written.
        """
        return self._kept.of(number)

    def verification(self, photo: Path | str | bytes, path: str, *, verify: int | None = None) -> Verification | None:
        """What geometry says of a query and a gallery photo, with all matched points; None without stored features.

        It is accepted where `locate` with this ``verify`` accepts it as one of the hits that it verifies.

        Raises:
            ImageError: if the query cannot be decoded.
            GalleryError: if the gallery holds no photo of this path.
            FeaturesDamagedError: if its features are not what was written.
            OptionError: if so many hits cannot be verified.
        """
        data = photo if isinstance(photo, bytes) else images.read_bytes(Path(photo))
        there = self.features_of(self._gallery.id_of(path))
        return None if there is None else self.compare(features_of(data), there, hits=verify)

    def compare(self, query: Features, there: Features, *, hits: int | None = None) -> Verification:
        """The same of the features of both photos; where no hits are verified, the pair stands alone."""
        step = self._verify if hits is None else Verify(hits) if hits else None
        return compare(query, there, step)


def _named(ids: NDArray[np.int64], verdict: Verdict) -> int | None:
    """The id of the hit that names the place."""
    return int(ids[verdict.hit]) if verdict.hit >= 0 else None
