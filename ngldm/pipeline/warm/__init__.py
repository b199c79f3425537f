"""A process that has the imports of all stages, and forks the stages that DVC runs (docs/performance.md).

`client.py` is the command of a stage, `server.py` the warm process, `job.py` its fork, which does the stage.
"""
