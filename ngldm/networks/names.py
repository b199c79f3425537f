"""What the networks' settings can be called. Without torch: params.yaml is checked at once."""

AUTOENCODERS = ("paper", "kl", "identity")
TIME_EMBEDDINGS = ("sinusoidal", "siren")
