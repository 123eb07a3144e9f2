"""Builds and reads the weakly aligned corpus: images by their regions, sentences, and the pairs made by retrieval.

Nothing in this package knows MMF or the training code; :mod:`mmf_muvla.pairing.store` is what they read it with.
"""
