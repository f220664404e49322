"""The study on synthetic people: runs of the pipeline with many heads, seeds and datasets."""
