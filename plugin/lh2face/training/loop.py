"""The training loop: it can resume within an epoch, validate by steps, and note signals."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

# Slurm can send SIGUSR1 some minutes before a job's time ends; at the end it sends SIGTERM.
SIGNALS = [getattr(signal, name) for name in ("SIGUSR1", "SIGTERM") if hasattr(signal, name)]


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):  # type: ignore[misc]  # mmengine has no types
    """Train by epochs; a resumed run starts at the step within the epoch where it was saved.

    The loop can validate after a number of steps. It ends after the current step when a hook sets
    ``stop_training``, as mmengine's ``EarlyStoppingHook`` does. If such a run is resumed, it does
    not train further.

    With a hook of :mod:`lh2face.training.checkpoints`, the signals SIGUSR1 and SIGTERM do not end
    the process. They are added to :attr:`asked`, and the hook acts on them between two steps.

    Args:
        runner: mmengine's runner.
        dataloader: The loader of the training images, or its config.
        max_epochs: Number of epochs, ≥ 1.
        val_interval: Number of steps between two validations, ≥ 1; ``None`` to validate after each
            epoch. There is also a validation after the last step. Without a ``val_dataloader``
            there is no validation.

    Attributes:
        heeded: Numbers of the signals that are noted.
        asked: Numbers of the signals that have arrived, and on which no hook has acted yet.

    Raises:
        ValueError: If a number is out of range, or the images do not fill one batch.

    Example:
        ``train_cfg = dict(type="EpochLoop", max_epochs=20, val_interval=2000)``
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader[Any] | dict[str, Any],
        max_epochs: int,
        val_interval: int | None = None,
    ) -> None:
        numbers = {"max_epochs": max_epochs, "val_interval": val_interval}
        for name, value in numbers.items():
            if (type(value) is not int or value < 1) and (name, value) != ("val_interval", None):
                raise ValueError(f"train_cfg.{name}: expected a whole number ≥ 1, found {value!r}")
        super().__init__(runner, dataloader, max_epochs)
        if not len(self.dataloader):
            raise ValueError(
                "train_dataloader.batch_size: is more than the "
                f"{len(self.dataloader.dataset)} images"
            )
        self.val_interval = val_interval or len(self.dataloader)
        self.heeded: list[int] = []
        self.asked: set[int] = set()
        let_workers_finish(self.dataloader)

    @property
    def stop_training(self) -> bool:
        """Whether a hook has ended the run; checkpoints store it."""
        return bool(self.runner.message_hub.get_info("stop_training", False))

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self.runner.message_hub.update_info("stop_training", value)

    def run(self) -> nn.Module:
        """Train to the last step or until a hook ends the run, and return the model."""
        if self.runner.val_loop is not None:
            let_workers_finish(self.runner.val_dataloader)
        with collect_signals(self.heeded, self.asked):
            self.runner.call_hook("before_train")
            while self._iter < self._max_iters and not self.stop_training:
                self.run_epoch()
            self.runner.call_hook("after_train")
        model: nn.Module = self.runner.model
        return model

    def run_epoch(self) -> None:
        """Train to the end of the epoch, or until a hook ends the run."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in self.rest_of_epoch():
            self.run_iter(index, batch)
            if index + 1 == len(self.dataloader):
                self.runner.call_hook("after_train_epoch")
                self._epoch += 1
            if self.runner.val_loop is not None and self.validation_is_due():
                self.validate()
            if self.stop_training:
                return

    def rest_of_epoch(self) -> Iterator[tuple[int, Any]]:
        """Return the remaining batches of the epoch, each with its index in the epoch."""
        done = self._iter - self._epoch * len(self.dataloader)
        if hasattr(self.dataloader.batch_sampler, "skip"):
            self.dataloader.batch_sampler.skip(done)
            return enumerate(self.dataloader, done)
        # Other batch samplers cannot skip batches, so these are loaded and not used.
        return islice(enumerate(self.dataloader), done, None)

    def validation_is_due(self) -> bool:
        """Whether to validate now, after a step."""
        due: bool = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return due

    def validate(self) -> None:
        """Validate, and then put each module back into the mode (train or eval) that it had."""
        training = [module for module in self.runner.model.modules() if module.training]
        self.runner.val_loop.run()
        for module in training:
            module.training = True


@contextmanager
def collect_signals(numbers: list[int], asked: set[int]) -> Iterator[None]:
    """Add the given signals to a set when they arrive; restore the old handlers at the end."""
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield
        return
    before = {
        number: signal.signal(number, lambda number, _: asked.add(number)) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def let_workers_finish(loader: DataLoader[Any]) -> None:
    """Make a loader's workers ignore signals, except SIGTERM from the training process.

    A batch system sends its signals to every process. If a worker ended, the run would end before
    its checkpoint is written.
    """
    if loader.num_workers and hasattr(signal, "sigwaitinfo"):
        loader.worker_init_fn = partial(ignore_signals, loader.worker_init_fn)


def ignore_signals(init: Callable[[int], None] | None, worker: int) -> None:
    """Start a worker that ignores :data:`SIGNALS`, except SIGTERM from its parent process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if init is not None:
        init(worker)


def end_with_parent() -> None:
    """End the process when its parent sends SIGTERM, as a loader does to end its workers."""
    while True:
        found = signal.sigwaitinfo(SIGNALS)
        if found.si_signo == signal.SIGTERM and found.si_pid == os.getppid():
            os._exit(0)
