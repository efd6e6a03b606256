"""Presets: how photos are seen and how a gallery ranks, chosen together. Data, and what reads it.

Look and shares of ``balanced`` were chosen by benchmarks/presets.py on some places, those of ``accurate`` on every
second place of a set of landmarks; docs/ranking.md gives what they are worth there and elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from placewise.errors import OptionError
from placewise.gallery_schema import Ranking
from placewise.models import Look, can_look, part_names
from placewise.models.looks import seen_with
from placewise.rank import Centre, Island, Place, Stack, Verify

if TYPE_CHECKING:
    from placewise.core import ModelCard


@dataclass(frozen=True, slots=True)
class Preset:
    """A name for choices that go together.

    Attributes:
        name: what the user types.
        look: how photos are seen, by models that can.
        stack: how a gallery ranks.
        says: what it is for, in a few words.
    """

    name: str
    look: Look
    stack: Stack
    says: str

    @property
    def ranking(self) -> Ranking:
        """What a gallery keeps of it."""
        return Ranking(self.stack.to_json() if self.stack.steps else None, self.name)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("fast", Look(), Stack(), "embeddings as the model gives them, compared as they are"),
            Preset(
                "balanced",
                Look(fit="both", pooling="gem2", sizes=(160,)),
                Stack((Centre(0.7), Place(0.4))),
                "the square in the centre and the whole photo; the photos of a place vote",
            ),
            Preset(
                "accurate",
                Look(fit="both", pooling="gem2", sizes=(320,)),
                Stack((Centre(0.7), Place(0.5), Verify(10), Island(0.6))),
                "the whole photo larger, and the geometry of the best hits verified",
            ),
        )
    }
)
"""Every preset by its name."""

DEFAULT_PRESET = "balanced"
"""Taken where none is named."""


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        OptionError: if there is none.
    """
    if name not in PRESETS:
        message = f"a preset must be one of {', '.join(PRESETS)}, got {name!r}; correct its name"
        raise OptionError(message)
    return PRESETS[name]


def look_for(model: str, wanted: Look, look: Look, precision: str = "auto") -> Look:
    """How a model sees photos: as the user says, else as is wanted, else, where it cannot, as its card says.

    Args:
        model: its name or file.
        wanted: the look of a preset, or of the gallery that is there.
        look: what the user says; a `Look` without arguments says nothing.
        precision: as for `models.load_model`; an 8-bit variant's graph is fixed.
    """
    if look != Look():
        return look
    return usable_look(model, Look(flip=wanted.flip, crops=wanted.crops) if precision == "int8" else wanted)


def usable_look(model: str, look: Look) -> Look:
    """A look if a model, or one of two that are fused, can have it, else that of its card."""
    return look if any(can_look(name, look) for name in part_names(model)) else Look()


def preset_seen(card: ModelCard) -> str:
    """The preset, other than `fast`, whose look a gallery's model has; empty where it is none's, or several's.

    >>> from placewise.models import find_card
    >>> preset_seen(seen_with(find_card("resnet50"), PRESETS["accurate"].look)), preset_seen(find_card("resnet50"))
    ('accurate', '')
    """
    alike = [preset for preset in PRESETS.values() if seen_with(card, preset.look).sight == card.sight]
    return alike[0].name if len(alike) == 1 and alike[0].stack.steps else ""
