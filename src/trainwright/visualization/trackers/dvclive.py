"""DVCLive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainwright.registry import VISBACKENDS
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


def _in_dvc_repository() -> bool:
    here = Path.cwd()
    return any((folder / ".dvc").is_dir() for folder in (here, *here.parents))
