"""What is trained: the U-Net, and the autoencoders in a folder of their own."""
