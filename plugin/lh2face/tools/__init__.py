"""What a person runs by hand beside the pipeline's stages: one module a command."""
