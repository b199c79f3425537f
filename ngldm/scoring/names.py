"""What scoring's settings can be called. Without torch: params.yaml is checked at once."""

EXTRACTORS = ("auto", "classifier", "inception", "rotation")
PROTOCOLS = ("standard", "paper")
