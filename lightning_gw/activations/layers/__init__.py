"""Which modules are looked at: one forward pass traced, and what a person would name as its layers."""
