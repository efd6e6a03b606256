"""Scoring by a protocol: what is right, what was predicted, and what that is worth.

::

    source ──► protocols ──► truth            which gallery photos are right for each query
                               │
    embeddings ──► ranking ──► predictions    ranked hits, saved before anything is scored
                               │
                             scores ──► comparing

``positives`` finds what is right, ``truth_files`` and ``prediction_files`` read what others wrote, and
``scored_files`` scores that without a model; ``compared_files`` reads the documents that are compared.
"""
