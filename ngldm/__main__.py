"""`python -m ngldm` is the console script `ngldm`."""

from ngldm.pipeline.cli.main import main

main()
