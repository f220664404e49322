"""A stream of random numbers for each image."""

import numpy as np


class Draws:
    """Independent streams of random numbers, one per (seed, epoch, index).

    They come from the counter-based generator Philox (Salmon et al., SC 2011). The seed is its key;
    epoch and index are the upper half of its counter. Selecting a stream takes two microseconds, a
    tenth of the time that a new generator takes.
    """

    def __init__(self) -> None:
        self._rng = np.random.Generator(np.random.Philox(key=0))
        self._start = self._rng.bit_generator.state

    def of(self, seed: int, epoch: int, index: int) -> np.random.Generator:
        """Return the generator at the start of a stream; every call returns the same object.

        Args:
            seed: Seed of the run, 0 … 2⁶⁴ − 1.
            epoch: Number of the epoch, in the same range.
            index: Index of the image, in the same range.
        """
        self._start["state"]["key"][0] = seed
        self._start["state"]["counter"][2:] = epoch, index
        self._rng.bit_generator.state = self._start
        return self._rng
