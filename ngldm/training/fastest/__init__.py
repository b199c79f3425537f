"""What a training computes in where its settings leave that to the machine."""
