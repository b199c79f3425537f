"""One module for each stage of dvc.yaml, with its command: `python -m stages.train --noise laplace`."""
