"""DVCLive."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright.io import atomic_write_text
from trainwright.registry import VISBACKENDS
from trainwright.visualization.scalars import Cut
from trainwright.visualization.trackers.base import (
    Suffixes,
    Tracker,
    as_dict,
    as_picture,
    as_plain,
    files_with_suffix,
)

_OWN = ("metrics.json", "params.yaml", "dvc.yaml")


@VISBACKENDS.register_module()
class DVCLiveVisBackend(Tracker):
    """Files of DVCLive in ``save_dir``. In a repository of DVC, an experiment is saved at the end.

    Args:
        save_dir: folder of the files.
        artifact_suffix: files of ``save_dir`` that end so become artifacts, in a repository of DVC.
        init_kwargs: arguments of ``dvclive.Live``.
    """

    package = "dvclive"
    cuts = "taken out"

    def __init__(
        self,
        save_dir: str,
        artifact_suffix: Suffixes = (".json", ".py", "yaml"),
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._artifact_suffix = artifact_suffix
        self._init_kwargs = dict(init_kwargs or {})

    def _init_env(self) -> None:
        dvclive: Any = self.import_package()
        self._init_kwargs.setdefault("dir", self._save_dir)
        in_dvc = _in_dvc_repository()
        usual = {"save_dvc_exp": in_dvc, "cache_images": in_dvc, "dvcyaml": "dvc.yaml" if in_dvc else None}
        self._init_kwargs = usual | self._init_kwargs
        self._dvclive = dvclive.Live(**self._init_kwargs)

    def _experiment(self) -> Any:
        return self._dvclive

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config as parameters."""
        self.open()
        self._dvclive.log_params(as_plain(as_dict(config)))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture as ``{name}_{step}.png``."""
        self.open()
        self._dvclive.log_image(f"{name}_{step}.png", as_picture(name, image))

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """One point of one curve each."""
        self._dvclive.step = step
        for name, value in numbers.items():
            self._dvclive.log_metric(name, value)

    def _close(self) -> None:
        if _in_dvc_repository():
            folder = Path(str(self._save_dir))
            for file in files_with_suffix(folder, self._artifact_suffix, recursive=True):
                if file.name not in _OWN and folder / "plots" not in file.parents:
                    self._dvclive.log_artifact(str(file))
        self._init_kwargs["resume"] = True  # what is written after this is appended
        self._dvclive.end()

    def _identity(self) -> dict[str, Any] | None:
        return {} if self._env_initialized or self._init_kwargs.get("resume") else None

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._init_kwargs["resume"] = True

    def _cut(self, state: Mapping[str, Any], cut: Cut) -> None:
        folder = Path(self._init_kwargs.get("dir") or str(self._save_dir)) / "plots" / "metrics"
        for name in cut.dropped:
            file = folder / f"{name}.tsv"
            if file.is_file():
                head, *rows = file.read_text(encoding="utf-8").splitlines()
                names = head.split("\t")
                at = names.index("step")
                cells = [row.split("\t") for row in rows]
                kept = ["\t".join(row) for row in cells if not cut.drops(name, int(row[at]), float(row[1 - at]))]
                atomic_write_text(file, "\n".join([head, *kept]) + "\n")

    def discard(self, state: Mapping[str, Any]) -> bool:
        """Delete its files."""
        shutil.rmtree(str(self._save_dir), ignore_errors=True)
        return True


def _in_dvc_repository() -> bool:
    here = Path.cwd()
    return any((folder / ".dvc").is_dir() for folder in (here, *here.parents))
