"""Work that is done once: what it was made from, lock, parts, workers, progress, atomic publishing."""
