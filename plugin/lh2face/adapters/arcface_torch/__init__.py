"""Use of this package's heads in an unmodified ``arcface_torch`` of insightface."""

from lh2face.adapters.arcface_torch.run import run

__all__ = ["run"]
