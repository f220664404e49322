"""Adapters to other toolboxes and to ONNX files; each has its own module."""
