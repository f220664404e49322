"""Stand-in for CVLface's ``classifiers``: it has what CVLface's trainer builds and calls."""

from . import fc, partial_fc


def get_classifier(classifier_cfg, margin_loss_fn, model_cfg, num_classes, rank, world_size):
    kinds = {"fc": fc.FCClassifier, "partial_fc": partial_fc.PartialFCClassifier}
    return kinds[classifier_cfg.name].from_config(
        classifier_cfg, margin_loss_fn, model_cfg, num_classes, rank, world_size
    )
