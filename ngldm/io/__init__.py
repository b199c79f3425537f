"""In and out: errors, files, images, tensors, devices."""
