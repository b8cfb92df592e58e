"""Where the modules of MMCV 1.x are that are modules of ours: the same object under both names."""

MODULES: dict[str, str] = {
    "utils.misc": "trainwright.utils.misc",
    "utils.path": "trainwright.utils.path",
    "utils.progressbar": "trainwright.utils.progressbar",
    "utils.timer": "trainwright.utils.timer",
    "utils.torch_ops": "trainwright.utils.dl_utils.torch_ops",
    "utils.trace": "trainwright.utils.dl_utils.trace",
    "utils.version_utils": "trainwright.utils.version_utils",
}
