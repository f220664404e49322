"""Detection of NaN and infinity in a run; they end it in every process with a message."""

from typing import Any

import torch
from mmengine.dist import all_reduce

# Key of the message hub for the statistics of the last step whose loss was finite.
LAST_FINITE = "last_finite"


class NonFiniteError(ValueError):
    """A value of the training is NaN or infinite; all processes raise this at the same step."""


def check_finite(runner: Any) -> None:
    """Check all parameters, buffers and moments of the optimizer; every process must call this.

    Raises:
        NonFiniteError: In every process, if one of them is NaN or infinite in any process.
    """
    model = getattr(runner.model, "module", runner.model)
    states = runner.optim_wrapper.optimizer.state.values()
    moments = [
        (f"the optimizer's {name}", value) for state in states for name, value in state.items()
    ]
    named = [
        (name, value)
        for name, value in [*model.named_parameters(), *model.named_buffers(), *moments]
        if torch.is_tensor(value) and value.is_floating_point()
    ]
    device = next(model.parameters()).device
    finite = torch.stack([value.isfinite().all().to(device) for _, value in named]).float()
    everywhere = finite.clone()
    all_reduce(everywhere, op="min")
    broken = [name for (name, _), good in zip(named, everywhere.tolist(), strict=True) if not good]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise NonFiniteError(
            non_finite_message(runner, runner.iter, f"{broken[0]}{more} held NaN or infinity")
        )


def non_finite_message(runner: Any, step: int, what: str) -> str:
    """Write the message: step, learning rate, what happened, and the last finite statistics."""
    last = dict(runner.message_hub.get_info(LAST_FINITE) or {})
    values = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    rate = runner.optim_wrapper.get_lr()["lr"][0]
    return (
        f"training stopped at step {step}, learning rate {rate:.4g}: {what}; "
        f"last finite statistics: {values or 'none'}; the last checkpoint is kept"
    )
