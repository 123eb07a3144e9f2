"""Detectors: one file per library, and what they have in common."""
