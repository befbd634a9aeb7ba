"""The commands that build on LightningCLI: training, and looking at checkpoints after the fact."""
