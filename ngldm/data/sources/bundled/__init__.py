"""Data sets that come with scikit-learn, so that nothing is downloaded."""
