"""Data sets; none, but the name is imported."""


class ImageFolder:
    """A folder of images, which only torchvision itself reads."""

    def __init__(self, root: str, transform: object) -> None:
        raise ValueError(
            f"config.rec: expected a folder with train.rec and train.idx, found {root!r}; to train "
            "on a folder of images, install torchvision or write records with `lh2face data`"
        )
