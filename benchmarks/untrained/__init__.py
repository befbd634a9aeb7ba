"""Real architectures that have learnt nothing, and what is said of them."""

from benchmarks.untrained.torchvision_operators import make_importable

make_importable()
