# ruff: noqa: C408 -- mmengine configs are written with dict()
"""Fine-tuning: from given weights, the head first, then all of it, the backbone at a lower rate.

The network is that of the weights: here that of ``small.py``; for weights of insightface's
arcface_torch name one of ``arcface_torch/`` in ``_base_``, or another ``model.backbone``.
"""

_base_ = "small.py"

# In the first epoch only the head learns, who is new, so that its errors do not spoil the rest.
custom_hooks = [
    dict(type="FreezeHook", parts=["backbone"], epochs=1),
    dict(type="BestModelHook", monitor="mean/accuracy"),
]
optim_wrapper = dict(
    optimizer=dict(lr=0.05),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
