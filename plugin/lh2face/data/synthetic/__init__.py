"""Synthetic faces: a parametric 3D face, photographed. No person is behind any of them."""

from lh2face.data.synthetic.generate import SyntheticConfig, write_benchmark, write_train

__all__ = ["SyntheticConfig", "write_benchmark", "write_train"]
