"""What importing the package loads."""

import json
import subprocess
import sys

OPTIONAL = {
    *("PIL", "accelerate", "aim", "bitsandbytes", "clearml", "colossalai", "cv2", "deepspeed", "dvclive", "ignite"),
    *("lightning", "matplotlib", "mlflow", "mmengine", "neptune", "pandas", "safetensors", "scipy", "sklearn"),
    *("swanlab", "tensorboard", "tensorboardX", "torchvision", "tqdm", "transformers", "wandb"),
}
PROBE = """
import json, sys
{before}
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by(statement, before=""):
    """Modules that a fresh process loads for the statement."""
    code = PROBE.format(statement=statement, before=before)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_import_trainwright_loads_next_to_nothing():
    loaded = loaded_by("import trainwright")
    assert "torch" not in loaded
    assert "numpy" not in loaded
    assert not loaded & OPTIONAL


def test_the_runner_and_the_command_line_load_no_optional_package():
    loaded = loaded_by("import trainwright.cli\nfrom trainwright import Runner", before="import torch")
    assert "trainwright.runner" in loaded
    assert not loaded & OPTIONAL


def test_base_registry_and_config_work_without_torch():
    loaded = loaded_by("import trainwright.base, trainwright.registry, trainwright.config")
    assert "torch" not in loaded
