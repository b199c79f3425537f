"""Laws of whole images: shared scale, correlated elements, and laws made of laws."""
