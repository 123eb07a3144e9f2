"""The trainer ``muvla``: what MMF's own trainer lacks (precision, accumulation, exact resume, atomic checkpoints)."""
