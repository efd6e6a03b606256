"""The document of the metrics: complete, and its examples run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from placewise import metrics

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Each name of ``placewise.metrics`` stands in docs/metrics.md as code."""
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")


def test_the_examples_of_the_document_say_what_comes_out() -> None:
    """Every example of docs/metrics.md gives what is printed below it, and there are some in each part."""
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")

    assert result.attempted > 20
    assert result.failed == 0
