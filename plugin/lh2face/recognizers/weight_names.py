"""Names of a recognizer's weights."""

from torch import Tensor, nn

# What the names of a recognizer's weights begin with.
BACKBONE, HEAD, RECONSTRUCTOR = "backbone.", "head.", "reconstructor."


def weights_without_head(model: nn.Module) -> dict[str, Tensor]:
    """Weights of a recognizer by name, on the CPU; without those of its head.

    The head's proxies belong to the training identities.
    """
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(HEAD)
    }
