"""The names that settings of the scoring can have. No torch here, so that params.yaml is checked quickly."""

EXTRACTORS = ("classifier", "inception")
PROTOCOLS = ("standard", "paper")
