"""Defaults."""

from easydict import EasyDict as edict  # noqa: N813

config = edict()
config.margin_list = (1.0, 0.5, 0.0)
config.resume = False
config.embedding_size = 512
config.sample_rate = 1
config.interclass_filtering_threshold = 0
config.weight_decay = 5e-4
config.save_all_states = False
config.dali = False
config.dali_aug = False
config.seed = 2048
