"""Rival ways to find the most similar embeddings, behind one interface (`placewise.core.Searcher`)."""

from placewise.search.ann import AnnSearcher
from placewise.search.exact import ExactSearcher
from placewise.search.tuning import AnnReport

__all__ = ["AnnReport", "AnnSearcher", "ExactSearcher"]
