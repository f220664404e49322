"""The study: the pipeline run with many heads, seeds and data sets, and the page of its results."""
