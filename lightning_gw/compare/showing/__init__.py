"""What is shown of a comparison: in the terminal, in a table of its runs, and in Weights & Biases."""
