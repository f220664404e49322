# ruff: noqa: C408 -- mmengine configs are written with dict()
"""The recipe that trains a reconstructor on single images."""

_base_ = "recognition.py"

model = dict(
    _delete_=True,
    type="ReconstructorTrainer",
    data_preprocessor=dict(type="FacePreprocessor"),
    # It is trained at 32 px, which costs little, and draws pictures of 96 px.
    reconstructor=dict(type="Linear3DMMReconstructor", image_size=32, picture_size=96),
)
# No validation: pairs of faces cannot measure a reconstructor.
val_dataloader = val_evaluator = val_cfg = None
train_dataloader = dict(batch_size=32, num_workers=0, dataset=dict(image_size=32))
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.999), weight_decay=5e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type="CosineAnnealingLR", convert_to_iter_based=True)]
train_cfg = dict(max_epochs=5)
