"""``params.yaml``: its schema, its reading, and error messages for invalid values."""

from lh2face.params.load import load_params
from lh2face.params.overlays import overlay_params
from lh2face.params.schema import Params
from lh2face.params.sections import ParamsError
from lh2face.params.yaml_files import read_yaml

__all__ = ["Params", "ParamsError", "load_params", "overlay_params", "read_yaml"]
