"""A run and its folder: parameters, profile, artifacts, provenance, chunks, progress."""
