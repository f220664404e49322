# ruff: noqa: C408 -- mmengine configs are written with dict()
"""IResNet-50 on MS1MV3 over eight GPUs: insightface's ``arcface_torch/configs/ms1mv3_r50.py``.

Batch size, learning rate, epochs, weight decay of every parameter and half precision are the same
as in arcface_torch. But gradients are clipped by the norm over all parameters, whereas
arcface_torch clips those of the backbone only.
"""

_base_ = "../recognition.py"

model = dict(
    backbone=dict(_delete_=True, type="IResNet", depth=50, embedding_size=512, image_size=112)
)
train_dataloader = dict(batch_size=8 * 128)  # of all processes together
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    dtype="float16",
    optimizer=dict(lr=0.1, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(norm_decay_mult=None, bias_decay_mult=None, flat_decay_mult=None),
)
# The learning rate falls linearly to 0.
param_scheduler = [dict(type="PolyLR", power=1.0, eta_min=0.0, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=20)
