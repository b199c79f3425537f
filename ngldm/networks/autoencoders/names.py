"""The names that settings of autoencoders can have. No torch here, so that params.yaml is checked quickly."""

OWN_KEYS = ("paper", "kl", "identity")  # kinds whose options are keys beside the kind
AUTOENCODERS = (*OWN_KEYS, "diffusers")
PRECISIONS = ("fp32", "bf16", "fp16")  # of a pretrained autoencoder
TRANSFORMS = ("none", "soft_log", "soft_log_radius")  # of points, before training
