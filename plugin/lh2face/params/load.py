"""Reading of ``params.yaml``."""

from pathlib import Path

from lh2face.params.messages import checked
from lh2face.params.schema import Params
from lh2face.params.yaml_files import read_yaml


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters.

    Raises:
        ParamsError: If the file is missing, is not YAML, or a key is unknown, missing or has a
            value that is not allowed.
    """
    return checked(Params, read_yaml(path), path, path.parent)
