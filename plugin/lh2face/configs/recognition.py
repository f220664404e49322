# ruff: noqa: C408 -- mmengine configs are written with dict()
"""Face recognition with LH2Face at 112 px: the mmengine config to begin with."""

custom_imports = dict(imports=["lh2face.register"], allow_failed_imports=False)
default_scope = "mmengine"

model = dict(
    type="FaceRecognizer",
    data_preprocessor=dict(type="FacePreprocessor"),
    backbone=dict(type="MobileFaceNet", embedding_size=512, image_size=112),
    # The pipeline replaces the head by those of params.yaml, and sets the number of people.
    head=dict(type="LH2FaceHead", num_classes=1000, in_channels=512),
)
train_dataloader = dict(
    batch_size=128,  # of all processes together
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="EvenBatchSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="RecordFaces",
        root="data/aligned/training/sources",
        image_size=112,
        pipeline=[dict(type="RandomMirror")],
    ),
)
val_dataloader = dict(
    batch_size=128,  # of each process
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    # Verification bins, or aligned benchmarks with pairs. To train without validation, set
    # val_dataloader, val_evaluator and val_cfg to None.
    dataset=dict(
        type="PairFaces",
        paths=["data/aligned/training/validation/strangers"],
        image_size=112,
    ),
)
val_evaluator = dict(type="VerificationAccuracy", far=1e-2)
val_cfg: dict[str, object] = dict()
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(
        # No weight decay for biases, the parameters of normalisation, and other vectors, such as
        # the slopes of PReLU.
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        # The reconstructor is already trained; the recognizer's learning rate would spoil it.
        custom_keys=dict(reconstructor=dict(lr_mult=0.01, decay_mult=0.0)),
    ),
    clip_grad=dict(max_norm=5.0),
)
# A schedule without ``end`` lasts to the end of training, which is train_cfg.max_epochs.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=1, convert_to_iter_based=True),
]
train_cfg = dict(type="EpochLoop", max_epochs=20)
default_hooks = dict(
    seed=dict(type="SeedHook"),
    logger=dict(type="TrainingRecordHook", interval=10),
    checkpoint=dict(type="LastCheckpointHook", interval=1000),
    validation=dict(type="ValidationRecordHook"),
)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="TensorboardVisBackend")])
randomness = dict(seed=0)
