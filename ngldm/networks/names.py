"""The names that settings of the networks can have. No torch here, so that params.yaml is checked quickly."""

AUTOENCODERS = ("paper", "kl", "identity")
TIME_EMBEDDINGS = ("sinusoidal", "siren")
TRANSFORMS = ("none", "soft_log", "soft_log_radius")  # of points, before training
