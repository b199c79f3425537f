"""Models to and from other libraries; each has a folder, which alone imports that library."""
