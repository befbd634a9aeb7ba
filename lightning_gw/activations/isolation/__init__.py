"""A look leaves no trace: what a network remembers is put back."""
