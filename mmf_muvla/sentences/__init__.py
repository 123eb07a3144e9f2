"""Text files become a table of distinct sentences."""
