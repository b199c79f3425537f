"""Names that latents in shards can choose from. This module does not import numpy, so that checking params is fast."""

LATENT_TYPES = ("float32", "float16")
