"""The names that settings of the training loop can have. No torch here, so that params.yaml is checked quickly."""

LR_SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16")
