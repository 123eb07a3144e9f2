"""What the model learns from: rows of input, losses with one value per sample, the curriculum. Free of MMF."""
