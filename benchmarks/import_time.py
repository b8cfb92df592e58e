"""What an import costs beyond torch, and which optional packages it brings along.

Each figure is the median of fresh processes, which import torch first, and find the bytecode of what they import. Exits
1 when `import trainwright` costs 0.2 s or more, every module of the face of MMEngine together 0.4 s or more, or when
any of the imports of Trainwright loads an optional package.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from common import print_table

SOURCE = Path(__file__).resolve().parent.parent / "src"
NAMES = SOURCE.parent / "tests" / "compat" / "mmengine" / "mme_names.json"
FACE = "every module of the face of MMEngine"
LIMITS_S = {"import trainwright": 0.2, FACE: 0.4}
STATEMENTS = {
    "import trainwright": "trainwright",
    "from trainwright import Runner": "trainwright",
    FACE: "trainwright",
    "import mmengine": "mmengine",
    "from mmengine.runner import Runner": "mmengine",
}
# fmt: off
OPTIONAL = (
    "accelerate", "aim", "apex", "bitsandbytes", "clearml", "colossalai", "cv2", "deepspeed", "dvclive", "hypothesis",
    "ignite", "lightning", "matplotlib", "mlflow", "neptune", "pandas", "PIL", "pytest", "safetensors", "scipy",
    "sklearn", "swanlab", "tensorboard", "tensorboardX", "tensorflow", "torchvision", "tqdm", "transformers", "wandb",
)
# fmt: on

FACE_CODE = """
import importlib
import trainwright.compat.mmengine as face
face.install()
for place in {places!r}:
    importlib.import_module(f"mmengine.{{place}}".rstrip("."))
"""

PROBE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import torch
before, start = set(sys.modules), time.perf_counter()
exec(sys.argv[2])
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in sys.argv[3:] if name in sys.modules and name not in before]]))
"""


def probe(python: str, statement: str) -> tuple[float, list[str]]:
    """Seconds, and the optional packages loaded, in one fresh process."""
    if statement == FACE:
        statement = FACE_CODE.format(places=list(json.loads(NAMES.read_text(encoding="utf-8"))))
    command = [python, "-c", PROBE, str(SOURCE), statement, *OPTIONAL]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    seconds, loaded = json.loads(done.stdout.splitlines()[-1])
    return seconds, loaded


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has mmengine installed")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    failed, rows = False, []
    for statement, package in STATEMENTS.items():
        try:
            probe(options.python, statement)  # which compiles what was not compiled yet
            results = [probe(options.python, statement) for _ in range(options.repeats)]
        except subprocess.CalledProcessError as error:
            if package == "trainwright" or "ModuleNotFoundError" not in error.stderr:
                raise RuntimeError(f"{statement} failed:\n{error.stderr}") from error
            continue
        seconds, loaded = statistics.median(result[0] for result in results), results[0][1]
        rows.append([statement, f"{seconds:.3f}", ", ".join(loaded) or "none"])
        if package == "trainwright":
            failed = failed or bool(loaded) or seconds >= LIMITS_S.get(statement, float("inf"))
    print_table(["statement", "s beyond torch", "optional packages loaded"], rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
