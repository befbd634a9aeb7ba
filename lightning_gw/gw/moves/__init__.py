"""One step of the search, on any machinery: batched in torch, compiled on the CPU, shared by processes."""
