"""Adapters to other toolboxes and to ONNX files, one module each."""
