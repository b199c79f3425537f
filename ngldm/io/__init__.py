"""In and out, what every room needs: errors, files, images, tensors, devices. It imports no other room."""
