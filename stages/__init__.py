"""One module for each stage of dvc.yaml, with its command: `python -m stages.train --noise laplace`."""

import sys

from ngldm.pipeline.signals import listen

if sys.argv[0] == "-m":  # `python -m stages.train`: the stage itself comes next, whose imports take seconds
    listen()
