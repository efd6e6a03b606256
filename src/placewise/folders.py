"""Where Placewise keeps what can be made again (caches) and what was pulled (weights) on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of caches: ``PLACEWISE_CACHE``, else the system's place for caches. It need not exist."""
    return _folder("PLACEWISE_CACHE", "user_cache_path")


def models_folder() -> Path:
    """The folder of pulled weights: ``PLACEWISE_MODELS``, else the system's place for data. It need not exist."""
    return _folder("PLACEWISE_MODELS", "user_data_path")


def _folder(variable: str, kind: str) -> Path:
    named = os.environ.get(variable)
    if named:
        return Path(named)
    import platformdirs

    path: Path = getattr(platformdirs, kind)("placewise", appauthor=False)
    return path / "models" if kind == "user_data_path" else path
