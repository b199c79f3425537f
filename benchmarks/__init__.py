"""Speed and memory of ngldm and of other projects: the same work, in the same run, on the same machine."""
