"""``python tests/doors/record_mmcv1.py``: writes the transcripts and checkpoints of MMCV 1.7.2 anew, in an environment
that has it (``make peers-mmcv1``)."""

import sys
import tempfile
import types
import warnings
from pathlib import Path

from mmcv1_scenarios import write_files
from mmcv1_scenarios_ends import SCENARIOS
from mmcv1_transcripts import FILES, FOLDER


def main():
    sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))
    warnings.simplefilter("ignore")
    import mmcv.runner as engine

    if not FILES.exists():
        write_files(engine)
    FOLDER.mkdir(exist_ok=True)
    for name, scenario in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder:
            text = scenario(engine, Path(folder)).transcript.text()
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
