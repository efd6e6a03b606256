"""The document of the metrics: complete, and its examples run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from placewise import metrics
from placewise.scoring.protocols import find_protocol
from placewise.scoring.scores import LARGE_RECALLS, RECALLS, Outcomes, confidence_metrics
from placewise.scoring.truth import Groups
from placewise.scoring.wording import AT_TAU, words_of

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Each name of ``placewise.metrics`` stands in docs/metrics.md as code."""
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")


def test_every_reported_metric_has_words_and_an_entry() -> None:
    """Whatever a protocol reports has a meaning in a line, and a heading of the document names it."""
    headings = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("### ")]
    documented = {name.strip() for line in headings for name in line[4:].partition(":")[0].split(",")}
    protocols = [find_protocol(text) for text in ("place", "radius", "frames:1", "pairs", "revisited", "landmarks-gap")]
    retrieval = {f"recall@{k}" for k in (*RECALLS, *LARGE_RECALLS)}
    retrieval = retrieval.union(*(protocol.metrics for protocol in protocols))
    numbers, no_bools = np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
    groups = Groups.of([], "places")
    nobody = Outcomes((), (), groups, numbers, no_bools, no_bools, numbers, np.empty(0), no_bools, {})
    reported = retrieval | confidence_metrics(nobody, 0.5).keys() | set(AT_TAU) | {"ece"}

    for name in reported:
        assert words_of(name).meaning, name
        assert re.sub(r"@\d+", "@K", name) in documented, name
    assert not words_of("another").meaning


def test_the_examples_of_the_document_say_what_comes_out() -> None:
    """Every example of docs/metrics.md gives what is printed below it, and there are some in each part."""
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")

    assert result.attempted > 20
    assert result.failed == 0
