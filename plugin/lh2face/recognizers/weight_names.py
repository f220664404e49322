"""Names of a recognizer's weights."""

from torch import Tensor, nn

# Prefixes of the names of a recognizer's weights, by part.
BACKBONE, HEAD, RECONSTRUCTOR = "backbone.", "head.", "reconstructor."


def weights_without_head(model: nn.Module) -> dict[str, Tensor]:
    """Return a recognizer's weights by name, on the CPU, without those of its head.

    The head is left out because its proxies belong to the training identities.
    """
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(HEAD)
    }
