"""What a record says, in sentences."""
