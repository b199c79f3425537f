"""What is drawn: vector figures, good enough for a paper, with one colour and dash per noise."""
