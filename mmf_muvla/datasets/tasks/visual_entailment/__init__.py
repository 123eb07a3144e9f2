"""SNLI-VE."""
