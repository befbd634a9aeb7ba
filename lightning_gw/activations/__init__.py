"""A live network, read without disturbing it: layers, probe, forward pass, pooling."""
