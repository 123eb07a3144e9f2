"""MMF dataset builders, and the making of views and batches."""
