# ruff: noqa: C408 -- mmengine configs are written with dict()
"""The recipe of the default run: one processor core trains this network in twenty seconds."""

_base_ = "recognition.py"

model = dict(
    backbone=dict(embedding_size=128, image_size=32, width=0.25),
    head=dict(in_channels=128),
)
# No workers: starting them takes longer than reading small faces from the cache.
train_dataloader = dict(batch_size=64, num_workers=0, dataset=dict(image_size=32))
val_dataloader = dict(batch_size=64, num_workers=0, dataset=dict(image_size=32))
train_cfg = dict(max_epochs=6)
