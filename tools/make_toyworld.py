#!/usr/bin/env python3
"""Make the toy world: detector output, unpaired texts, held-out pairs and four tasks.

    python tools/make_toyworld.py [out=data/toyworld] [seed=0] [overwrite=true] [key=value …]

The keys are the fields of mmf_muvla.toyworld.ToyWorldConfig: scenes=5000, pictures=all, detector.misnamed=0.2. A
world that is already there with the same settings is left as it is; one with other settings is replaced only with
overwrite=true. Equal settings make equal files.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.toyworld.command import make_toyworld

if __name__ == "__main__":
    sys.exit(run_command(make_toyworld, __doc__, needs_arguments=False))
