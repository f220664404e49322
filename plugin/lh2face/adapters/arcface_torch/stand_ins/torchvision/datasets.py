"""Data sets; none, but the name is imported."""


class ImageFolder:
    """A folder of images, which only torchvision itself reads."""

    def __init__(self, root: str, transform: object) -> None:
        raise ValueError(
            f"config.rec: expected a folder with train.rec and train.idx, found {root}; "
            f"`lh2face records image_folder {root} OUT` makes them of a folder a person"
        )
