"""What theory says of a noise, and its measurement."""
