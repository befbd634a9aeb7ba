"""The grid of networks: what is planted, on which data, in which shapes, and how they are trained."""
