"""HTTP around a gallery: an API under ``/v1`` and a page. No logic: what is answered comes from the library.

The way of a request: `server` (connections) → `envelope` (id, headers, log) → `app` → `access` (keys, rate) →
`routes` → `bodies` (photos out of bytes, within limits) → `desk` (decode, share a batch, answer) → `documents`.
"""
