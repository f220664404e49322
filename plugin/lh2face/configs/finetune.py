# ruff: noqa: C408 -- mmengine configs are written with dict()
"""Fine-tuning of given weights: first the head alone, then all, with a lower rate for the backbone.

The backbone must be the one that the weights belong to; here it is that of ``small.py``. For
weights of insightface's arcface_torch, name a config of ``arcface_torch/`` in ``_base_``, or change
``model.backbone``.
"""

_base_ = "small.py"

# In the first epoch only the head is trained: it is new, and its large gradients would damage the
# pretrained weights.
custom_hooks = [
    dict(type="FreezeHook", parts=["backbone"], epochs=1),
    dict(type="BestModelHook", monitor="mean/accuracy"),
]
# The backbone's learning rate is a tenth of the head's. The head's rate is raised instead of
# lowering the backbone's: an entry of custom_keys would switch off the rules that exempt the
# backbone's biases, normalisation and slopes from weight decay. The head has no such parameters.
optim_wrapper = dict(
    optimizer=dict(lr=0.005),
    paramwise_cfg=dict(
        custom_keys={"head.proxies": dict(lr_mult=10.0), "reconstructor": dict(lr_mult=0.1)}
    ),
)
