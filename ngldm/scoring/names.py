"""The names that settings of the scoring can have. No torch here, so that params.yaml is checked quickly."""

EXTRACTORS = ("auto", "classifier", "inception", "points", "rotation")
PROTOCOLS = ("standard", "paper")
