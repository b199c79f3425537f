"""What a training leaves to the machine: precision and layout, the parts of a batch, the number of threads."""
