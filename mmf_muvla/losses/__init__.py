"""Pre-training losses with one value per sample, and the curriculum that weighs them."""
