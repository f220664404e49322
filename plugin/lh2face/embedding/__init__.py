"""Embedding of faces by any model, block by block, so that an interrupted run can resume."""
