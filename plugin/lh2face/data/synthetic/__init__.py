"""Synthetic faces: photographs of a parametric 3D face. None of them shows a real person."""

from lh2face.data.synthetic.generate import SyntheticConfig, write_benchmark, write_train

__all__ = ["SyntheticConfig", "write_benchmark", "write_train"]
