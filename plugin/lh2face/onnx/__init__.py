"""ONNX files of anybody: read, checked and run, within bounds."""
