"""The options of every command: which there are, which values they can have, and what an error says.

``kinds`` has the kinds of values, ``schema`` finds out which keys a schema has, ``checking`` checks a configuration,
and ``reading`` reads the command lines of the tools. ``run`` builds the whole tree of ``mmf_run`` from ``training``,
``model`` and ``data``; :mod:`mmf_muvla.compat.patch_options` has it check MMF's configuration.

Schemas are dataclasses with pydantic's constraints; checked values are plain Python. Nothing here imports PyTorch or
MMF.
"""
