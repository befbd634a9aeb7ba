"""The inputs that a network is looked at with: where they come from, what a batch is made of, what its rows are."""
