# ruff: noqa: C408 -- mmengine configs are written with dict()
"""IResNet-50 on MS1MV3 with one GPU: ``arcface_torch/configs/ms1mv3_r50_onegpu.py``."""

_base_ = "ms1mv3_r50.py"

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.02))
