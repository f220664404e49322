"""Warm-up, then a straight line to 0."""

from torch.optim.lr_scheduler import _LRScheduler


class PolynomialLRWarmup(_LRScheduler):
    """Passes ``verbose``, as the real one does."""

    def __init__(
        self, optimizer, warmup_iters, total_iters=5, power=1.0, last_epoch=-1, verbose=False
    ):
        super().__init__(optimizer, last_epoch=last_epoch, verbose=verbose)
        self.total_iters, self.power, self.warmup_iters = total_iters, power, warmup_iters

    def get_lr(self):
        if self.last_epoch == 0 or self.last_epoch > self.total_iters:
            return [group["lr"] for group in self.optimizer.param_groups]
        left = (self.total_iters - self.last_epoch) / self.total_iters
        return [base_lr * left**self.power for base_lr in self.base_lrs]
