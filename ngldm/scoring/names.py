"""What scoring's settings can be called. Without torch: params.yaml is checked at once."""

EXTRACTORS = ("classifier", "inception")
PROTOCOLS = ("standard", "paper")
