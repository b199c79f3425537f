"""Data sets that pass by, shard by shard: tar files of WebDataset, and what Hugging Face `datasets` reads."""
