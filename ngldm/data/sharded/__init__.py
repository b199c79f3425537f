"""Latents in shards: `encoding` makes them from a data set that is too large for arrays, `rows` reads them."""
