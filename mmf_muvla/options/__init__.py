"""The options of every command: which there are, which values they can have, and what an error says.

``kinds`` has the kinds of values, ``schema`` finds out which keys a schema has, ``checking`` checks a configuration,
``reading`` reads command lines and ``composing`` files with includes. ``run`` checks the tree of ``mmf_run``, whose
schemas are in ``training``, ``model`` and ``data``; :mod:`mmf_muvla.compat` has it check MMF's configuration.

Schemas are dataclasses with pydantic's constraints. Nothing here imports PyTorch or MMF.
"""
