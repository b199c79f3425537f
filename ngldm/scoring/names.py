"""The names that settings of the scoring can have. No torch here, so that params.yaml is checked quickly."""

EXTRACTORS = ("auto", "classifier", "dinov2", "inception", "points", "rotation")
PRETRAINED = ("dinov2", "inception")  # their weights come from a file that others trained
RESIZINGS = ("standard", "clean")
PROTOCOLS = ("standard", "paper")
