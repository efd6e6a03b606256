"""Placewise: which of my places does this photo show, or is it UNKNOWN?

The public names are imported on first use, so that ``import placewise`` costs nothing and touches nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placewise.archive import export_npz, import_npz
    from placewise.cache import Cache
    from placewise.calibrating import calibrate_gallery
    from placewise.core import Answer, Embedder, FileState, Filter, Finding, Hit, ModelCard, Photo, Position, Source
    from placewise.doctor import Examination, examine
    from placewise.embed import embed_photos
    from placewise.errors import PlacewiseError
    from placewise.evaluate import evaluate_source
    from placewise.evaluation import Evaluation
    from placewise.findings_report import write_findings
    from placewise.fitting import fit_model
    from placewise.gallery import Gallery
    from placewise.gallery_file import GalleryFile
    from placewise.indexing import index_source
    from placewise.locate import Locator
    from placewise.models import MODELS, Look, load_model
    from placewise.openset import Aim, Calibration
    from placewise.report import write_report
    from placewise.scoring.compared_files import compare_files
    from placewise.scoring.scored_files import score_predictions
    from placewise.sources import read_source

_HOME = {
    "Aim": "openset",
    "Answer": "core",
    "Cache": "cache",
    "Calibration": "openset",
    "Embedder": "core",
    "Evaluation": "evaluation",
    "Examination": "doctor",
    "FileState": "core",
    "Filter": "core",
    "Finding": "core",
    "Gallery": "gallery",
    "GalleryFile": "gallery_file",
    "Hit": "core",
    "Locator": "locate",
    "Look": "models",
    "MODELS": "models",
    "ModelCard": "core",
    "Photo": "core",
    "PlacewiseError": "errors",
    "Position": "core",
    "Source": "core",
    "calibrate_gallery": "calibrating",
    "compare_files": "scoring.compared_files",
    "embed_photos": "embed",
    "evaluate_source": "evaluate",
    "examine": "doctor",
    "export_npz": "archive",
    "fit_model": "fitting",
    "import_npz": "archive",
    "index_source": "indexing",
    "load_model": "models",
    "read_source": "sources",
    "score_predictions": "scoring.scored_files",
    "write_findings": "findings_report",
    "write_report": "report",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        message = f"module 'placewise' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"placewise.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "MODELS",
    "Aim",
    "Answer",
    "Cache",
    "Calibration",
    "Embedder",
    "Evaluation",
    "Examination",
    "FileState",
    "Filter",
    "Finding",
    "Gallery",
    "GalleryFile",
    "Hit",
    "Locator",
    "Look",
    "ModelCard",
    "Photo",
    "PlacewiseError",
    "Position",
    "Source",
    "calibrate_gallery",
    "compare_files",
    "embed_photos",
    "evaluate_source",
    "examine",
    "export_npz",
    "fit_model",
    "import_npz",
    "index_source",
    "load_model",
    "read_source",
    "score_predictions",
    "write_findings",
    "write_report",
]
