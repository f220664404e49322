"""Evaluation of embeddings: templates, 1:1, 1:N, verification bins, quality. No training code."""
