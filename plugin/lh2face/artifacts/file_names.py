"""Names of the files that runs leave and that several modules write or read."""

# A trained model's folder.
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
# The folder of a third-party model has this file instead.
ONNX = "model.onnx"
RECONSTRUCTOR_WEIGHTS = "reconstructor.safetensors"
# The figures of an evaluation, and of the stages fit3d and depth.
METRICS = "metrics.json"
