"""A process that has the imports of all stages, and forks the stages that DVC runs (docs/performance.md)."""
