"""torchvision: preparing training images."""
