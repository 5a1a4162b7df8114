"""The networks: plain PyTorch modules from images or features to logits, one a file.

All settings are keyword-only and have defaults. Every network takes ``num_classes``; those
for images take ``channels`` and ``image_size`` too, and refuse a size that they cannot take
when they are built. The names of the layers are part of the interface.
"""

from fer.models.alexnet import AlexNet
from fer.models.ann import AnnNet
from fer.models.cbam import Cbam, CbamResNet
from fer.models.conv1 import Conv1Net
from fer.models.conv2 import Conv2Net
from fer.models.conv4 import Conv4Net
from fer.models.conv6 import Conv6Net
from fer.models.resnet import ResNet
from fer.models.transfer import TransferNet

__all__ = [
    "AlexNet",
    "AnnNet",
    "Cbam",
    "CbamResNet",
    "Conv1Net",
    "Conv2Net",
    "Conv4Net",
    "Conv6Net",
    "ResNet",
    "TransferNet",
]
