"""From aligned faces to embeddings: any model, block by block, so that a run can go on."""
