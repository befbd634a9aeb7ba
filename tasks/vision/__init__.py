"""Small images, told apart by a ConvNet, a vision transformer, or a pre-trained EfficientNet-Lite0."""

from tasks.vision.data import Cifar10Data, DigitsData
from tasks.vision.module import ConvNetClassifier, EfficientNetClassifier, VisionTransformerClassifier

__all__ = ["Cifar10Data", "ConvNetClassifier", "DigitsData", "EfficientNetClassifier", "VisionTransformerClassifier"]
