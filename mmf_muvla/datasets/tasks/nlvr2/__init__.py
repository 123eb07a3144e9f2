"""NLVR2."""
