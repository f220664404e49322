# ruff: noqa: C408 -- mmengine configs are written with dict()
"""A reconstructor, trained on single images: the mmengine config to begin with."""

custom_imports = dict(imports=["lh2face"], allow_failed_imports=False)
default_scope = "mmengine"

model = dict(
    type="ReconstructorTrainer",
    data_preprocessor=dict(type="FacePreprocessor", mirror=0.5),
    reconstructor=dict(type="Unsup3DReconstructor", image_size=32),
)
train_dataloader = dict(
    batch_size=32,  # of all processes together
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="EvenBatchSampler"),
    collate_fn=dict(type="default_collate"),
    # The preprocessor mirrors.
    dataset=dict(type="RecordFaces", root="data/aligned/train", image_size=32, mirror=0.0),
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.999), weight_decay=5e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    # To 0 at the end of the run; T_max is the number of epochs.
    dict(type="CosineAnnealingLR", convert_to_iter_based=True),
]
train_cfg = dict(type="EpochLoop", max_epochs=15)
default_hooks = dict(
    seed=dict(type="SeedHook"),
    logger=dict(type="TrainingRecordHook", interval=10),
    checkpoint=dict(type="LastCheckpointHook", interval=1000),
)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="TensorboardVisBackend")])
randomness = dict(seed=0)
