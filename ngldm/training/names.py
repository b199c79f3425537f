"""What the training loop's settings can be called. Without torch: params.yaml is checked at once."""

LR_SCHEDULES = ("constant", "cosine")
PRECISIONS = ("fp32", "bf16")
