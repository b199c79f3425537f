"""What sampling leaves to the machine: the images of a batch, precision and layout."""
