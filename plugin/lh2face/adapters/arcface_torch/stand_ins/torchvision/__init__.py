"""Stand-in for torchvision: the transforms of training images."""
