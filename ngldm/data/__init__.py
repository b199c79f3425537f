"""The forms in which data lies on disk, each module named like its folder; `sources` makes data sets."""
