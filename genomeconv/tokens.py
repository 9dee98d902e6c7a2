"""From bases to rows of a model's embedding table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomeconv.alphabet import SIZE
from genomeconv.config import ModelConfig

HYENA_ROWS = (7, 8, 9, 10, 11)
"""A C G T N in HyenaDNA's character vocabulary."""
HYENA_UNKNOWN = 6
"""[UNK] in HyenaDNA's vocabulary."""
HYENA_VOCABULARY = 16
"""12 ids, padded to a multiple of 8."""


def token_table(config: ModelConfig) -> npt.NDArray[np.int64]:
    """Return the embedding row of each code of the alphabet, shape (5,)."""
    table = np.array(config.token_ids, dtype=np.int64)
    assert table.shape == (SIZE,)
    return table
