"""Any network of timm (https://github.com/huggingface/pytorch-image-models) as a backbone."""

from typing import Any, cast

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from lh2face.arguments import at_least
from lh2face.registry import MODELS
from lh2face.text import first_line

# Mean and standard deviation for the channels that a fusion adds; with them, values in [-1, 1] do
# not change.
OTHER_MEAN = OTHER_STD = 0.5


@MODELS.register_module()
class TimmBackbone(BaseModule):  # type: ignore[misc]  # mmengine has no types
    """A network of timm whose last layer gives the embedding.

    Weights are only downloaded with ``pretrained``, and then only when training begins
    (``init_weights``), not when a trained model is loaded. The image is normalised with the mean
    and standard deviation of the network's published weights.

    Args:
        name: A model of ``timm.list_models()``; a tag after a point names its published weights,
            as in ``"resnet18.a1_in1k"``.
        embedding_size: Length d of the embedding.
        image_size: Side of the square input, px; the network determines which sizes are possible.
        in_channels: Channels of the input; more than 3 when renderer outputs are fused in.
        pretrained: Whether to begin training from timm's published weights.
        drop_path_rate: Rate of stochastic depth, for networks that have it; ``None``: timm's
            default.
        drop_rate: Rate of dropout before the last layer, for networks that have it; ``None``:
            timm's default.
        init_cfg: See :class:`mmengine.model.BaseModule`.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If timm has no such network, or it cannot be built for images of that size.

    Example:
        ``backbone=dict(type="TimmBackbone", name="convnext_atto", embedding_size=512,
        image_size=112)``
    """

    def __init__(
        self,
        name: str,
        embedding_size: int = 512,
        image_size: int = 112,
        in_channels: int = 3,
        pretrained: bool = False,
        drop_path_rate: float | None = None,
        drop_rate: float | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError as error:
            raise ImportError(
                f"TimmBackbone needs timm, which does not import ({error}): "
                'pip install "lh2face[timm]"'
            ) from None
        # Other names, such as "hf_hub:…", would make create_model download files.
        if not timm.is_model(name):
            raise ValueError(
                f"name: expected one of timm.list_models() of timm {timm.__version__}, found "
                f"{name!r:.100}"
            )
        at_least("embedding_size", embedding_size, 1)
        at_least("image_size", image_size, 1)
        self.pretrained = pretrained
        self.config = {
            "model_name": name,
            "num_classes": embedding_size,
            "in_chans": in_channels,
            "drop_path_rate": drop_path_rate,
            "drop_rate": drop_rate,
        }
        try:
            published = timm.get_pretrained_cfg(name)
            if published.fixed_input_size:
                self.config["img_size"] = image_size
            # Try the image size on the meta device, which allocates no memory.
            with torch.device("meta"):
                image = torch.zeros(2, in_channels, image_size, image_size)
                found = tuple(self._created()(image).shape)
        except Exception as error:  # networks raise many types of error
            reason = first_line(error)
            raise ValueError(
                f"{name}: cannot be built for images of {image_size} px with {in_channels} "
                f"channels: {reason}"
            ) from error
        if found != (2, embedding_size):
            raise ValueError(
                f"{name}: expected embeddings (2, {embedding_size}) of two images, found {found}; "
                "the network must map each image to one vector"
            )
        self.network = self._created()
        more = [OTHER_MEAN] * (in_channels - 3), [OTHER_STD] * (in_channels - 3)
        mean, std = (
            torch.tensor([*values, *other][:in_channels]).view(-1, 1, 1)
            for values, other in zip((published.mean, published.std), more, strict=True)
        )
        # (x + 1) / 2 converts [-1, 1] to [0, 1], the range of mean and standard deviation.
        self.register_buffer("scale", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)

    def _created(self, pretrained: bool = False) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(**self.config, pretrained=pretrained)
        return network

    def init_weights(self) -> None:
        """Load the published weights if ``pretrained``, and then apply ``init_cfg``."""
        if self.pretrained and not self.is_init:
            self.network.load_state_dict(self._created(pretrained=True).state_dict())
        # Some of timm's networks have a method init_weights, which would draw new weights.
        cast(Any, self.network).is_init = True
        super().init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: ``(B, in_channels, S, S)`` in [-1, 1].

        Returns:
            Unnormalised embeddings ``(B, embedding_size)`` float32.
        """
        embeddings: Tensor = self.network(images * self.scale + self.shift)
        return embeddings.float()
