"""`python -m ngldm` is the console script `ngldm`."""

from ngldm.pipeline.cli.main import main

if __name__ == "__main__":
    main()
