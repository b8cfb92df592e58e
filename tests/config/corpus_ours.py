"""What the corpus must give where MMEngine fails, or where its result is none that a user could want. Checked by hand.

VALUES has whole results, PARTS some values of a result by dotted key, ERRORS words that the message must hold.
"""

from __future__ import annotations

from typing import Any

_PLAIN = {
    "model": {"type": "Net", "depth": 50, "scope": "own", "inner": {"a": 1}},
    "data_root": "data/",
    "size": 32,
    "a": {"b": "nested"},
    "a_b": "flat",
    "nothing": None,
}
_RUNTIME_HOOKS = {"logger": {"type": "mmengine.hooks.LoggerHook", "interval": 1}}
_NET_WITH_LIBRARY = {
    "type": "mmdet.models.Detector",
    "depth": 50,
    "scope": "own",
    "norm": "torch.nn.LayerNorm",
    "inner": {"a": 1, "made": "mmdet.datasets.make"},
}
_LAYERS = ["torch.nn.Linear", ("mmdet.models.Detector.Head", {"k": "torch.nn.functional.relu"})]

_TEMPLATE = {
    "SYSTEM": "<|system|>\n{system}</s>\n",
    "INSTRUCTION": "<|user|>\n{input}</s>\n<|assistant|>\n",
}
_JSON_DATASET = {"type": "tuner.data.JsonDataset", "path": "a.jsonl", "template": _TEMPLATE}

VALUES: dict[str, dict[Any, Any]] = {
    # MMEngine reads a file with a byte order mark as a syntax error
    "language/byte_order_mark.py": {"a": 1, "b": {"c": 2}},
    "data/byte_order_mark.json": {"a": 1},
    "traps/byte_order_mark_child.py": {"a": 1, "b": {"c": 2, "d": 3}},
    # `configs` beside `.mim/configs`
    "crosspackage/through_configs_folder.py": {
        "model": {"type": "FromConfigsFolder", "_scope_": "mmyolo", "head": {"type": "Head", "n": 1}}
    },
    # a file is parsed after substitution, not before
    "traps/env_unquoted.py": {
        **_PLAIN,
        "workers": 4,
        "number": 34,
        "flag": False,
        "model": {**_PLAIN["model"], "depth": 101, "old": 50},
        "rates": [1e-3, None],
    },
    # the default is text, no pattern
    "traps/env_special_characters.py": {
        "plus": "a+b",
        "brackets": "(x)[y]*?.^$",
        "path": "/data/c++/x.y/z",
        "again": ["/data/c++/x.y", "from_the_environment"],
    },
    # a template of the base stands for a value, wherever it is written
    "traps/template_in_text.py": {
        **_PLAIN,
        "path": "data/train/",
        "both": "data/32.png",
        "quoted": "data/",
        "total": 69,
        "keys": {"data/": 1, "x": 2},
        "called": {"b": "nested", "n": "32"},
        "attribute": 50,
        "item": "Net",
        "formatted": "32x32",
        "in_set": {32, 1},
    },
    "traps/template_similar_names.py": {**_PLAIN, "nested": "nested", "flat": "flat"},
    "traps/template_in_text.yaml": {
        "data_root": "data/",
        "bucket": {"name": "images"},
        "size": 32,
        "path": "data/train/",
        "url": "s3://images/template_in_text",
        "sizes": [32, 32],
    },
    # a file with `_base_` may import libraries, and they stay names
    "traps/library_after_base.py": {
        **_PLAIN,
        "model": _NET_WITH_LIBRARY,
        "layers": _LAYERS,
        "a": {"b": "torch.nn.GELU"},
        "deeper": {"b": "torch.nn.GELU"},
    },
    "traps/library_in_text_chain.py": {
        **_PLAIN,
        "model": {**_NET_WITH_LIBRARY, "inner": {"a": 1, "made": "mmdet.datasets.make", "more": 1}},
        "layers": _LAYERS,
        "same": _LAYERS,
        "a": {"b": "torch.nn.GELU"},
        "deeper": {"b": "torch.nn.GELU"},
    },
    "traps/library_before_base.py": {
        **_PLAIN,
        "model": {**_PLAIN["model"], "type": "mmdet.models.Detector", "dtype": "numpy.float32"},
        "size": 33,
    },
    # one syntax inherits from the other
    "traps/import_child_of_text_base.py": {
        "model": {
            "type": "OneStage",
            "backbone": {
                "type": "CSPDarknet",
                "deepen_factor": 0.33,
                "widen_factor": 0.5,
                "act_cfg": {"type": "Swish"},
            },
            "neck": {"type": "PAFPN", "in_channels": [128, 256, 512], "out_channels": 128, "num_csp_blocks": 1},
            "bbox_head": {
                "type": "AnchorFreeHead",
                "num_classes": 32,
                "strides": (8, 16, 32),
                "loss_cls": {"type": "Other"},
                "loss_obj": {"type": "BCE", "reduction": "sum"},
            },
            "train_cfg": {"assigner": {"type": "SimOTA", "center_radius": 2.5}},
            "test_cfg": {"score_thr": 0.01, "nms": {"type": "nms", "iou_threshold": 0.65}},
        },
        "stem": "one_stage_for_import",
        "val_cfg": {"type": "ValLoop", "_scope_": "mmengine"},
        "test_cfg": {"type": "TestLoop", "_scope_": "mmengine"},
        "train_cfg": {"by_epoch": True, "max_epochs": 3, "dynamic_intervals": [(8, 1)]},
        "default_hooks": _RUNTIME_HOOKS,
        "renamed": {"b": "nested"},
        "size": 32,
    },
    # the standard library is imported for real, whatever Python froze into itself
    "traps/os_module.py": {
        "data_root": "from_the_environment",
        "folder": "from_the_environment/train",
        "stem": "b",
        "number": 17,
        "unset": "default",
        "joined": "a/b",
    },
    "traps/os_module_before_base.py": {
        **_PLAIN,
        "data_root": "data/x",
        "model": {**_PLAIN["model"], "inner": {"a": 1, "b": "from_the_environment"}},
    },
    "traps/environment_in_import_syntax.py": {
        "model": {"type": "tuner.models.Model", "path": "from_the_environment"},
        "branch": "seventeen",
        "n_env": 1,
    },
    "traps/file_in_text_syntax.py": {
        **_PLAIN,
        "here": "<corpus>/traps/file_in_text_syntax.py",
        "parts": ["traps", "file_in_text_syntax.py"],
    },
    "traps/two_modules_in_one_import.py": {
        "model": {"type": "torch.nn.Linear", "root": 2.0, "dtype": "torch.float32", "parsed": [1]}
    },
    "traps/base_tuple.py": {**_PLAIN, "size": 64},
    "traps/with_without_base.py": {"size": 1},
    # MMEngine writes the name of such a module twice
    "traps/module_as_value.py": {
        "model": {"backend": "numpy", "layers": "torch.nn", "optim": "torch.optim", "root": "torch"}
    },
    # a key stays though a class of that name was imported here or in a base; MMEngine's `to_dict` drops it
    "llm/shadowing.py": {
        "optimizer": {"type": "tuner.optim.AdamW", "lr": 1e-4},
        "loss": ["tuner.losses.loss", "tuner.losses.loss.inner"],
        "schedules": {"replaced": True},
        "lr": 1 + 1e-4,
        "list_": [1, 2],
    },
    "traps/shared_imported_name.py": {
        "Dataset": {"type": "now a value"},
        "dataset": {"type": {"type": "now a value"}},
        "template": _TEMPLATE,
        "train_dataloader": {"batch_size": 1, "num_workers": 4, "dataset": _JSON_DATASET},
    },
    # `_deprecation_` warns in the import syntax too
    "traps/deprecation_in_import_syntax.py": {"model": {"type": "tuner.models.Model", "_delete_": True}},
    # an attribute of the base is its key, not what MMEngine noted there
    "traps/scope_attribute.py": {**_PLAIN, "scope": "own", "item": "own"},
    "traps/second_read_base.py": {
        "lr": 1e-4,
        "width": 3,
        "template": _TEMPLATE,
        "dataset": _JSON_DATASET,
        "train_dataloader": {"batch_size": 2, "num_workers": 4, "dataset": _JSON_DATASET},
        "plain": {**_PLAIN["model"], "depth": 3},
    },
}

# Some values of a result, by dotted key.
PARTS: dict[str, dict[str, Any]] = {
    "data/values.yaml": {"nothing": None, "octal": 8, "sexagesimal": 90, "multi": ["a", "b"], "block.1.c": 2},
    "evaluation/eval_environment.py": {
        "token": "from_the_environment",
        "number": 17,
        "cache": "/cache/hub",
        "home": "from_the_environment",
        "models.0.path": "from_the_environment/model",
    },
    "traps/module_in_value.py": {"tools.dumps": "json.dumps"},
    "traps/text_child_of_import_base.py": {
        "default_hooks.logger.interval": 1,
        "default_hooks.logger.type": "mmengine.hooks.LoggerHook",
        "model.type": "Wrapper",
        "model.template": "<|system|>\nyou are</s>\n",
        "model.inner.head.vocab": 1,
        "model.inner.head.type": "tuner.models.heads.LMHead",
        "level": "INFO",
        "lr": 2e-4,
        "optim_wrapper.optimizer.lr": 1e-4,
    },
    "traps/import_base_from_yaml.py": {
        "lr": 1,
        "log_level": "INFO",
        "optim_wrapper.optimizer.type": "torch.optim.AdamW",
        "optim_wrapper.optimizer.lr": 1e-4,
    },
    "traps/lazy_call.py": {"model.n": 1},
}

# Words of the message. It begins with the file and the line, given first.
_DATA = ("data file", ".py")
ERRORS: dict[str, tuple[str, ...]] = {
    "traps/data_with_python_base.yaml": ("data_with_python_base.yaml:1:", "plain_base.py", *_DATA),
    "traps/data_with_python_base.json": ("data_with_python_base.json:2:", "plain_base.py", *_DATA),
    "traps/data_python_apply.yaml": ("data_python_apply.yaml:3:", "os.getcwd"),
    "traps/data_python_name.yaml": ("data_python_name.yaml:1:", "os.system"),
    "traps/data_python_module.yaml": ("data_python_module.yaml:1:", "this"),
    "traps/data_custom_imports.json": ("data_custom_imports.json:1:", "custom_imports", ".py"),
    "traps/data_custom_imports.yaml": ("data_custom_imports.yaml:1:", "custom_imports", ".py"),
    "traps/reserved_text.py": ("reserved_text.py:1:", "'text'", "rename"),
    "traps/reserved_filename.py": ("reserved_filename.py:2:", "'filename'"),
    "traps/reserved_env.yaml": ("reserved_env.yaml:2:", "'env_variables'"),
    "traps/error_absolute_missing.py": ("error_absolute_missing.py:4:", "none"),
    "traps/error_absolute_single.py": ("error_absolute_single.py:4:", "benchsuite"),
    "traps/error_assert.py": ("error_assert.py:2:", "AssertionError", "n must be four"),
    "traps/error_base_dict.py": ("error_base_dict.py:1:", "_base_"),
    "traps/error_base_empty.py": ("error_base_empty.py:1:", "_base_"),
    "traps/error_base_is_folder.py": ("error_base_is_folder.py:1:", "language"),
    "traps/error_base_key.py": ("error_base_key.py:3:", "depht", "did you mean 'depth'"),
    "traps/error_base_list_of_numbers.py": ("error_base_list_of_numbers.py:1:", "3"),
    "traps/error_base_needs_name.py": ("error_base_needs_name.py:2:", "folder"),
    "traps/error_base_number.py": ("error_base_number.py:1:", "3"),
    "traps/error_base_template.py": ("error_base_template.py:3:", "depht", "did you mean 'depth'"),
    "traps/error_base_without_suffix.py": ("error_base_without_suffix.py:1:", "plain_base"),
    "traps/error_circular_a.py": ("circle", "error_circular_a.py", "error_circular_b.py", "error_circular_c.py"),
    "traps/error_circular_b.py": ("circle", "error_circular_a.py", "error_circular_b.py", "error_circular_c.py"),
    "traps/error_circular_c.py": ("circle", "error_circular_a.py", "error_circular_b.py", "error_circular_c.py"),
    "traps/error_circular_import_a.py": ("circle", "error_circular_import_a.py", "error_circular_import_b.py"),
    "traps/error_circular_import_b.py": ("circle", "error_circular_import_a.py", "error_circular_import_b.py"),
    "traps/error_own_base.py": ("error_own_base.py:1:", "circle"),
    "traps/error_contains_itself.py": ("error_contains_itself.py", "itself"),
    "traps/error_custom_import.py": ("error_custom_import.py:1:", "no_such_module_anywhere"),
    "traps/error_duplicate_keys.py": ("error_duplicate_keys.py:1:", "'data_root', 'size'"),
    "traps/error_env_without_default.py": ("error_env_without_default.py:2:", "'TW_NOWHERE'", "default"),
    "traps/error_exit.py": ("error_exit.py:3:", "SystemExit", "enough"),
    "traps/error_from_dot.py": ("error_from_dot.py:4:",),
    "traps/error_import_in_read_base.py": ("error_import_in_read_base.py:4:", "read_base"),
    "traps/error_import_raises.py": ("error_import_raises.py:3:", "IndexError"),
    "traps/error_in_base.py": ("error_name.py:2:", "not_defined"),
    "traps/error_in_import_base.py": ("error_import_raises.py:3:", "IndexError"),
    "traps/error_indent.py": ("error_indent.py:2:", "not valid Python"),
    "traps/error_json_comma.json": ("error_json_comma.json:2:", "JSON"),
    "traps/error_json_list.json": ("error_json_list.json:1:", "list"),
    "traps/error_list_index.py": ("error_list_index.py:2:", "'k'", "list", "_delete_"),
    "traps/error_missing_base.py": ("error_missing_base.py:2:", "plain_bass.py", "did you mean 'plain_base"),
    "traps/error_missing_in_package.py": ("error_missing_in_package.py:1:", "resnet19_8xb32.py"),
    "traps/error_missing_package.py": ("error_missing_package.py:1:", "'mmnowhere'", "not installed"),
    "traps/error_name.py": ("error_name.py:2:", "not_defined"),
    "traps/error_no_such_base_module.py": ("error_no_such_base_module.py:4:", "plain_bass"),
    "traps/error_no_such_name.py": ("error_no_such_name.py:4:", "'sice'", "did you mean 'size'"),
    "traps/error_none_and_dict.py": ("error_none_and_dict.py:3:", "'nothing'", "_delete_"),
    "traps/error_not_hashable.py": ("error_not_hashable.py:1:", "unhashable"),
    "traps/error_raise_type_error.py": ("error_raise_type_error.py:1:", "TypeError"),
    "traps/error_raises.py": ("error_raises.py:5:", "ZeroDivisionError"),
    "traps/error_star_outside.py": ("error_star_outside.py:2:", "import *", "read_base"),
    "traps/error_syntax.py": ("error_syntax.py:2:", "not valid Python"),
    "traps/error_template_without_base.py": ("error_template_without_base.py:2:", "model"),
    "traps/error_type_conflict.py": ("error_type_conflict.py:3:", "'size'", "_delete_"),
    "traps/error_type_conflict_deep.py": ("error_type_conflict_deep.py:4:", "'model.inner.a'", "_delete_"),
    "traps/error_yaml_alias.yaml": ("error_yaml_alias.yaml:1:", "alias"),
    "traps/error_yaml_base.yaml": ("error_yaml_base.yaml:2:", "nowhere.yaml"),
    "traps/error_yaml_empty.yaml": ("error_yaml_empty.yaml:1:", "empty"),
    "traps/error_yaml_scalar.yaml": ("error_yaml_scalar.yaml:1:", "str"),
    "traps/error_yaml_tab.yaml": ("error_yaml_tab.yaml:3:", "YAML"),
}
