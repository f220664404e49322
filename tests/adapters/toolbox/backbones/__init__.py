"""A network that treats each image by itself, so that dividing a batch changes nothing."""

import torch


def get_model(name, **kwargs):
    if name not in ("r18", "r34", "r50", "r100", "mbf"):
        raise ValueError()
    return Linear(kwargs["fp16"], kwargs["num_features"])


class Linear(torch.nn.Module):
    def __init__(self, fp16, num_features):
        super().__init__()
        self.fp16 = fp16
        self.fc = torch.nn.Linear(3 * 7 * 7, num_features)

    def forward(self, x):
        with torch.cuda.amp.autocast(self.fp16):
            x = torch.nn.functional.adaptive_avg_pool2d(x, 7).flatten(1)
        return 3 * self.fc(x.float() if self.fp16 else x)
