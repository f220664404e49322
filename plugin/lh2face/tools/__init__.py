"""Commands that a person runs by hand, besides the stages of the pipeline; one per module."""
