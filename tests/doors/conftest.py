import sys
from pathlib import Path

import pytest

# The fault suite's tools.
sys.path.append(str(Path(__file__).parents[1] / "faults"))
for _module in ("harness", "os_layer", "disk_model", "saves", "kills", "corruptions"):
    pytest.register_assert_rewrite(_module)
