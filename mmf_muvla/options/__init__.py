"""The options of everything that can be started: what there is, which values can be used, and what an error says.

``kinds`` has the kinds of values, ``schema`` finds out which keys a schema has, ``checking`` puts a configuration to
the test, and ``reading`` reads the command lines of the tools. ``run`` puts the whole tree of ``mmf_run`` together, out
of ``training``, ``model`` and ``data``; :mod:`mmf_muvla.compat.patch_options` has MMF's configuration checked by it.

Schemas are dataclasses with the constraints of pydantic; values that they have checked are plain Python. Nothing here
imports PyTorch or MMF.
"""
