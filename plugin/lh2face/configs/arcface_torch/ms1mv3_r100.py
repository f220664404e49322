# ruff: noqa: C408 -- mmengine configs are written with dict()
"""IResNet-100 on MS1MV3 over eight GPUs: ``arcface_torch/configs/ms1mv3_r100.py``."""

_base_ = "ms1mv3_r50.py"

model = dict(backbone=dict(depth=100))
