"""Array types of the runtime. Axis letters: B robots, N candidates, H horizon, A action, Z latent.

Extra leading axes: I iterations. P of the N candidates are proposed by the policy prior, K are the
elites, E of which compete again in the next iteration (iCEM alone).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Obs = Mapping[str, Array]
"""One array per modality: `state` (B, O) float32, `rgb` (B, C, height, width) uint8."""
