"""Statistics of comparisons: what strategies differ in, by how much, and whether that is more than seed noise."""
