"""The study on synthetic people: the pipeline run with many heads, seeds and data sets."""
