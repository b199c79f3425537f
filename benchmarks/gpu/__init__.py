"""What a person with a GPU runs to fill in what the docs could not measure: `python -m benchmarks.gpu --minutes 40`."""
