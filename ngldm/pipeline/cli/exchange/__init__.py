"""Commands that give models to other libraries and take theirs."""
