"""The console script `ngldm`: tools for people. The stages of the pipeline are in stages/."""
