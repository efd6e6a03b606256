"""Rival ways to find the most similar embeddings, behind one interface (`placewise.core.Searcher`)."""

from placewise.search.exact import ExactSearcher

__all__ = ["ExactSearcher"]
