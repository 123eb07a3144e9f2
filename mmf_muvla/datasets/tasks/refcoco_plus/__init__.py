"""RefCOCO+."""
