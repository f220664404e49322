"""A head in a short mmengine config, trained for a few steps on synthetic faces.

    python examples/mmengine_config.py [WORK_DIR]

Another project needs only this config: `custom_imports` registers the classes that it names.
"""

# ruff: noqa: C408 -- mmengine configs are written with dict()
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner
from synthetic_faces import write_records

PEOPLE, PHOTOS = 8, 6


def config(work_dir: Path) -> dict:
    """The config."""
    return dict(
        custom_imports=dict(imports=["lh2face.register"]),
        model=dict(
            type="FaceRecognizer",
            backbone=dict(type="MobileFaceNet", embedding_size=64, width=0.25, image_size=48),
            head=dict(type="LH2FaceHead", num_classes=PEOPLE, in_channels=64, vmf_dim=32),
        ),
        train_dataloader=dict(
            dataset=dict(type="RecordFaces", root=str(work_dir / "faces"), image_size=48),
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
            batch_size=16,
            num_workers=0,
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9)),
        train_cfg=dict(by_epoch=True, max_epochs=8),
        default_hooks=dict(logger=dict(type="TrainingRecordHook", interval=3)),
        work_dir=str(work_dir),
        log_level="ERROR",
    )


if __name__ == "__main__":
    work_dir = Path(sys.argv[1] if len(sys.argv) > 1 else "work_dirs/mmengine_config")
    write_records(work_dir / "faces", PEOPLE, PHOTOS)
    Runner.from_cfg(Config(config(work_dir))).train()
    print(f"record of the steps: {work_dir / 'training.csv'}")
