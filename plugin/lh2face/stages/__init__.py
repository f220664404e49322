"""The stages of the pipeline: parameters and files in, files out."""
