# ruff: noqa: C408 -- mmengine configs are written with dict()
"""Fine-tuning of given weights: first the head alone, then all with a lower rate in the backbone.

The network must be that of the weights; here it is that of ``small.py``. For weights of
insightface's arcface_torch, name a config of ``arcface_torch/`` in ``_base_``, or change
``model.backbone``.
"""

_base_ = "small.py"

# In the first epoch only the head trains: it is new, and its large gradients would harm the rest.
custom_hooks = [
    dict(type="FreezeHook", parts=["backbone"], epochs=1),
    dict(type="BestModelHook", monitor="mean/accuracy"),
]
optim_wrapper = dict(
    optimizer=dict(lr=0.05),
    # A key here replaces the rules for norms, biases and slopes: in the backbone all weights decay.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
