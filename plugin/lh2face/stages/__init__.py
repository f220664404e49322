"""The stages of the pipeline, one module per stage; each reads parameters and files."""
