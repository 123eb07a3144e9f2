"""Detector output of every format becomes a region store."""
