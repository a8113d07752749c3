"""The strangers in a bundle that scores are normalised by."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.errors import BundleError


def read_cohort(bundle: Bundle) -> npt.NDArray[np.float32] | None:
    """Embeddings of strangers, float32 (m, d), unit rows; None where the bundle has none.

    Raises:
        BundleError: the file does not hold them.
    """
    record = bundle.manifest.verification
    if record is None or record.cohort is None:
        return None
    where, again = bundle.path / record.cohort, "calibrate or export the bundle again"
    try:
        cohort = np.load(io.BytesIO(bundle.read(record.cohort)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BundleError(f"{where}: is no .npy file of numbers ({error}): {again}") from error
    dim = bundle.manifest.dim
    if not isinstance(cohort, np.ndarray) or cohort.dtype != np.float32 or cohort.ndim != 2 or cohort.shape[1] != dim:
        raise BundleError(f"{where}: is not float32 (m, {dim}), so no cohort of this encoder: {again}")
    if not len(cohort) or not np.isfinite(cohort).all():
        raise BundleError(f"{where}: is empty, or has numbers that are not finite: {again}")
    return np.ascontiguousarray(cohort)
