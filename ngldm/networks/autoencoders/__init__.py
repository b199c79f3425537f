"""Autoencoders: images to latents and back. `build` makes each kind from its settings."""
