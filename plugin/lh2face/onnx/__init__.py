"""Reading, checking and running of untrusted ONNX files."""
