# ruff: noqa: C408 -- mmengine configs are written with dict()
"""IResNet-100 on WebFace42M over 16 GPUs: ``arcface_torch/configs/wf42m_pfc02_16gpus_r100.py``.

Each step uses the proxies of a fifth of the people. In the pipeline, a head of ``params.yaml``
replaces the whole head of this config, including its ``sample_rate``.
"""

_base_ = "ms1mv3_r100.py"

people = 2_059_906

model = dict(
    head=dict(
        _delete_=True,
        type="ShardedHead",
        sample_rate=0.2,
        head=dict(type="LH2FaceHead", num_classes=people, in_channels=512),
    )
)
train_dataloader = dict(batch_size=16 * 256)
optim_wrapper = dict(optimizer=dict(lr=0.3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end=1, convert_to_iter_based=True),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=1, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(type="ShardedCheckpointHook"))
