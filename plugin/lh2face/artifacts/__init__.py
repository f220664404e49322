"""What a run leaves on disk: whole outputs, model folders, provenance, thresholds, model cards."""
