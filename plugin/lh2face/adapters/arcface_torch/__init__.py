"""insightface's ``arcface_torch`` with the heads of this package, its files untouched."""

from lh2face.adapters.arcface_torch.run import run

__all__ = ["run"]
