"""What is trained: the U-Net and the autoencoders."""
