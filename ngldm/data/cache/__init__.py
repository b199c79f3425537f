"""Latents on the disk, as arrays or in shards, and their statistics."""
