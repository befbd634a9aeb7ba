"""Pictures of several runs or strategies side by side."""
