"""Small images, told apart by a ConvNet or a vision transformer."""

from tasks.vision.data import Cifar10Data, DigitsData
from tasks.vision.module import ConvNetClassifier, VisionTransformerClassifier

__all__ = ["Cifar10Data", "ConvNetClassifier", "DigitsData", "VisionTransformerClassifier"]
