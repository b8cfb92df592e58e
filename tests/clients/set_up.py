"""What the packages of the clients' environment lack on this stack, put into the environment that runs this.

torchvision's wheel is built for another torch than the CPU's: its operators do not load, and what it says about their
shapes would fail for want of them. mmcv-lite has no operators: `mmcv_ext.py` stands in for them.
"""

import importlib.util
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent


def folder_of(package: str) -> Path:
    """Where a package is installed, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed: `make clients` installs it")
    return Path(found.origin).parent


if __name__ == "__main__":
    (folder_of("torchvision") / "_meta_registrations.py").write_text("", encoding="utf-8")
    shutil.copyfile(HERE / "mmcv_ext.py", folder_of("mmcv") / "_ext.py")
