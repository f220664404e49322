# ruff: noqa: C408 -- mmengine configs are written with dict()
"""LH2Face in mmpretrain's ImageClassifier, trained on folders of aligned faces: IDENTITY/IMAGE."""

custom_imports = dict(
    imports=["mmpretrain.registry", "lh2face.register"], allow_failed_imports=False
)
default_scope = "mmpretrain"

image_size = 112
embedding_size = 512

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(type="ResNet", depth=18),
    # A ResNet's pooled features come from a ReLU, so without this neck all embeddings would be in
    # the positive orthant.
    neck=dict(type="LinearNeck", in_channels=512, out_channels=embedding_size, gap_dim=2),
    head=dict(type="LH2FaceHead", num_classes=1000, in_channels=embedding_size),
)
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="CustomDataset",
        data_root="data/faces",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(image_size, image_size)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackInputs"),
        ],
    ),
)
# Other photos of the same people. mmpretrain numbers the folders of each root separately, so both
# roots must have the same folders.
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CustomDataset",
        data_root="data/held_out",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(image_size, image_size)),
            dict(type="PackInputs"),
        ],
    ),
)
val_evaluator = dict(type="Accuracy", topk=1)
test_dataloader, test_evaluator = val_dataloader, val_evaluator
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    # Both schedules begin at the first step, so this works for any number of epochs. The cosine
    # ends with the training.
    dict(type="LinearLR", start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=20)
val_cfg: dict[str, object] = dict()
test_cfg: dict[str, object] = dict()
randomness = dict(seed=0)
