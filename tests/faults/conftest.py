import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
for _module in ("harness", "os_layer", "disk_model", "saves", "kills", "corruptions"):
    pytest.register_assert_rewrite(_module)
