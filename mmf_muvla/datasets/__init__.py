"""MMF dataset builders, and the making of samples and batches."""
