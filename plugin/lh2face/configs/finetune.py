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
# The backbone has a tenth of the head's rate. The keys are not those of the backbone, because a key
# replaces the rules by which norms, biases and slopes do not decay; the head has none of these.
optim_wrapper = dict(
    optimizer=dict(lr=0.005),
    paramwise_cfg=dict(
        custom_keys={"head.proxies": dict(lr_mult=10.0), "reconstructor": dict(lr_mult=0.1)}
    ),
)
