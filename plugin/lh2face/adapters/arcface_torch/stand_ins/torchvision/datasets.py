"""Data sets: only the imported name, without function."""


class ImageFolder:
    """A folder of images, which this stand-in cannot read."""

    def __init__(self, root: str, transform: object) -> None:
        raise ValueError(
            f"config.rec: expected a folder with train.rec and train.idx, found {root}; "
            f"`lh2face records image_folder {root} OUT` makes them from one folder per person"
        )
