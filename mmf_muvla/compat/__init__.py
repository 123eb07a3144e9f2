"""Makes MMF (1.0.0rc10 and GitHub main) importable and runnable on today's PyTorch stack.

MMF was written for torch 1.5, transformers 3 and omegaconf 2.0. This package mends it while it is imported,
without a fork, without a copy and without touching a file of MMF. Nothing else in the project patches MMF.

In the order in which it happens:

1. ``finder``: a ``.pth`` file beside the installed package puts a meta-path finder in place when the interpreter
   starts. It imports nothing and looks at nothing until somebody imports ``mmf`` or ``mmf_cli``.
2. ``loading``: every module of MMF is then executed by its own loader, with two additions: its ``import``
   statements go through ``substitutes`` first, and the patches registered for it run right after it.
3. ``substitutes``: stand-ins for modules that moved (``transformers.modeling_bert``) or that are absent
   (``torchvision``). Only importers inside MMF see them; ``sys.modules`` is not touched.
4. ``patch_*``: one short function per mend. Its docstring names the line of MMF, the symptom, and when it can go.

Line numbers are those of MMF 1.0.0rc10; "main" is MMF's GitHub main. The environment variable
``MMF_MUVLA_COMPAT_SKIP=name,name`` leaves out patches, by the function's name, and stand-ins, by the module's.

This file stays empty of imports: it runs at the start of every interpreter of the environment.
"""
