"""How a network is run on the probe: by which method, and with what settled before training."""
