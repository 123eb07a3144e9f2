"""The model: embeddings, trunk, heads, and ``muvla``, which MMF knows."""
