"""Stand-in that reads the config: the defaults, updated by the values of a file."""

import importlib
from pathlib import Path


def get_config(config_file):
    assert config_file.startswith("configs/"), "config file setting must start with configs/"
    name = Path(config_file).stem
    cfg = importlib.import_module("configs.base").config
    cfg.update(importlib.import_module(f"configs.{name}").config)
    return cfg
