"""The maths of the losses, as pure functions of tensors."""
