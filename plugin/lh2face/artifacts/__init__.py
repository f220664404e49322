"""Files that runs write: model folders, evaluations, provenance, thresholds, model cards."""
