"""What a layer put out, read as one row per input: axes, masks, pooling, and why a network or a layer is not read."""
