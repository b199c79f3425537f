"""The console script `ngldm`: tools for people."""
