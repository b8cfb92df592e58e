"""``python tests/compat/mmcv1/record_mmcv1_curves.py``: writes ``mmcv1_curves.npz`` anew by MMCV 1.7.2, in an
environment that has it (``make peers-mmcv1``)."""

import sys
import types

import numpy as np
from mmcv1_curves import CASES, FILE, changing, curve, digest


def main():
    sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))
    from mmcv.runner import hooks

    digests = [digest(changing(case, curve(hooks, case))) for case in CASES]
    np.savez_compressed(FILE, cases=np.array(list(CASES)), digests=np.array(digests))


if __name__ == "__main__":
    main()
