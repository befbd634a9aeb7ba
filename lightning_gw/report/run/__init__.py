"""One run of a page: where it lies, what it is called, what was done to it since, and what its groups are for."""
