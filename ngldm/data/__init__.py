"""The forms that lie on disk, each module named like its folder."""
