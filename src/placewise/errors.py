"""Every error that Placewise raises on purpose, in one tree.

::

    PlacewiseError
    ├── OptionError            an argument or option has a value that cannot be used
    ├── SourceError            a manifest or folder cannot be used as a source of photos
    ├── ImageError             one photo cannot be decoded
    ├── ModelError             a model cannot be found or built
    │   ├── CardError          a card beside an ONNX file is missing, wrong or of another graph
    │   ├── CheckpointError    a weights file is damaged, hostile or of another architecture
    │   ├── WeightsMissingError  the weights are not on this machine
    │   └── DownloadError      a pull failed or brought the wrong bytes
    ├── StoreError             a file that Placewise keeps cannot be opened or written
    │   ├── GalleryError       … the gallery
    │   │   ├── ModelMismatchError  … its embeddings are another model's
    │   │   ├── NameTakenError  … it holds another photo under a name
    │   │   ├── FeaturesMissingError  … it holds no local features to verify by
    │   │   └── FeaturesDamagedError  … those that it keeps are not what was written
    │   └── CacheError         … the embedding cache
    ├── CalibrationError       photos from which no threshold can be learned
    └── EvaluationError        a labelled set, or predictions, that cannot be evaluated

Each message is one line: what must hold, what came, what to do next.
"""


class PlacewiseError(Exception):
    """Base of all errors of this package; the command line catches it once."""


class OptionError(PlacewiseError):
    """An argument or option has a value that cannot be used."""


class SourceError(PlacewiseError):
    """A manifest or folder cannot be used as a source of photos."""


class ImageError(PlacewiseError):
    """One photo cannot be decoded.

    Attributes:
        kind: ``missing``, ``unreadable``, ``truncated``, ``too_large``, or ``unusable`` for one that a network can make
            nothing of.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        """Keep the kind beside the message, so that findings need not parse text."""
        super().__init__(message)
        self.kind = kind


class ModelError(PlacewiseError):
    """A model cannot be found or built."""


class CardError(ModelError):
    """A card beside an ONNX file is missing, wrong or of another graph."""


class CheckpointError(ModelError):
    """A weights file is damaged, hostile or of another architecture."""


class WeightsMissingError(ModelError):
    """The weights of a model are not on this machine."""


class DownloadError(ModelError):
    """A pull failed or brought the wrong bytes."""


class StoreError(PlacewiseError):
    """A file that Placewise keeps cannot be opened or written."""


class GalleryError(StoreError):
    """A gallery file cannot be opened, read or written."""


class ModelMismatchError(GalleryError):
    """A gallery holds the embeddings of another model."""


class NameTakenError(GalleryError):
    """A gallery holds another photo under a name."""


class FeaturesMissingError(GalleryError):
    """A gallery holds no local features to verify by."""


class FeaturesDamagedError(GalleryError):
    """Local features that a gallery keeps are not what was written."""


class CacheError(StoreError):
    """The embedding cache cannot be opened, read or written."""


class CalibrationError(PlacewiseError):
    """Photos from which no threshold can be learned."""


class EvaluationError(PlacewiseError):
    """A labelled set, or predictions for one, cannot be evaluated."""
