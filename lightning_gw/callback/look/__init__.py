"""One look while training: when it fits, how it is made, and where it rides along with validation."""
