import inspect
import json
import logging

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from trainwright import visualization
from trainwright.base.errors import ConfigError, ConfigTypeError, WorkDirError
from trainwright.base.logs import MMLogger
from trainwright.registry import VISBACKENDS, VISUALIZERS
from trainwright.visualization import BaseVisBackend, LocalVisBackend, Visualizer
from trainwright.visualization.vis_backend import force_init_env


class Recorder(BaseVisBackend):
    """Keeps what it is given."""

    needs_folder = False

    def __init__(self, save_dir=None):
        super().__init__(save_dir)
        self.opened = 0
        self.calls = []

    def _init_env(self):
        self.opened += 1

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        self.open()
        self.calls.append((dict(scalar_dict), step, file_path))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scalars_are_json_lines_under_vis_data_readable_at_once(tmp_path):
    visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path))
    assert not (tmp_path / "vis_data").exists()
    visualizer.add_scalars({"loss": torch.tensor(0.5), "acc": np.float32(2.0), "epoch": 1}, step=10)
    visualizer.add_scalar("lr", 0.1, step=11)
    visualizer.add_scalars({"x": float("nan"), "step": 3})
    lines = lines_of(tmp_path / "vis_data" / "scalars.json")
    assert lines[:2] == [{"loss": 0.5, "acc": 2.0, "epoch": 1, "step": 10}, {"lr": 0.1, "step": 11}]
    assert lines[2]["step"] == 3
    assert lines[2]["x"] != lines[2]["x"]
    visualizer.close()
    visualizer.add_scalar("lr", 0.2, step=12)
    visualizer.close()
    assert len(lines_of(tmp_path / "vis_data" / "scalars.json")) == 4


def test_a_further_file_gets_the_same_line(tmp_path):
    backend = LocalVisBackend(str(tmp_path))
    backend.add_scalars({"loss": 1.0}, 5, "20250101.json")
    backend.close()
    assert lines_of(tmp_path / "20250101.json") == lines_of(backend.scalar_file) == [{"loss": 1.0, "step": 5}]
    with pytest.raises(ConfigError, match=r"file_path='a.txt' must end in .json"):
        backend.add_scalars({"loss": 1.0}, 5, "a.txt")
    with pytest.raises(ConfigError, match=r"must not be 'scalars.json'"):
        backend.add_scalars({"loss": 1.0}, 5, "scalars.json")


def test_config_and_pictures_become_files(tmp_path):
    class Config:
        def dump(self, path):
            with open(path, "w") as file:
                file.write("lr = 0.1\n")

    visualizer = Visualizer(vis_backends={"type": "LocalVisBackend"}, save_dir=str(tmp_path))
    visualizer.add_config(Config())
    visualizer.add_image("val/cat", np.zeros((4, 5, 3), np.uint8), step=7)
    assert (tmp_path / "vis_data" / "config.py").read_text() == "lr = 0.1\n"
    assert (tmp_path / "vis_data" / "vis_image" / "val" / "cat_7.png").read_bytes().startswith(b"\x89PNG")


def test_a_value_that_is_no_scalar_is_refused_and_nothing_is_written(tmp_path):
    backend = LocalVisBackend(str(tmp_path))
    with pytest.raises(TypeError, match="a value of type object cannot be written as a scalar"):
        backend.add_scalar("loss", object())
    assert not backend.scalar_file.exists()


def test_a_folder_that_cannot_be_made_is_an_error_about_work_dir(tmp_path):
    (tmp_path / "file").write_text("")
    backend = LocalVisBackend(str(tmp_path / "file" / "below"))
    with pytest.raises(WorkDirError, match=r"cannot make .*below.* set work_dir to a place you may write"):
        backend.add_scalar("loss", 1.0)


def test_bad_file_names_are_refused_at_construction():
    with pytest.raises(ConfigError, match=r"config_save_file='c.txt' must end in .py, .json, .yaml or .yml"):
        LocalVisBackend("x", config_save_file="c.txt")
    with pytest.raises(ConfigError, match=r"scalar_save_file='s.csv' must end in .json"):
        LocalVisBackend("x", scalar_save_file="s.csv")


def test_every_backend_gets_everything_and_opens_once(monkeypatch):
    one = Recorder()
    monkeypatch.setitem(VISBACKENDS._module_dict, "Recorder", Recorder)
    visualizer = Visualizer(vis_backends=[one, {"type": "Recorder", "name": "second"}])
    two = visualizer.get_backend("second")
    visualizer.add_scalars({"loss": 1.0}, step=1)
    visualizer.add_scalars({"loss": 2.0}, step=2, file_path="a.json")
    assert one.calls == two.calls == [({"loss": 1.0}, 1, None), ({"loss": 2.0}, 2, "a.json")]
    assert one.opened == two.opened == 1
    visualizer.add_config(object())  # not overridden: dropped
    with pytest.raises(ConfigError, match=r"no backend 'secnd' \(there are: Recorder, second\). Did you mean 'second'"):
        visualizer.get_backend("secnd")


def test_only_the_main_process_writes(monkeypatch):
    backend = Recorder()
    visualizer = Visualizer(vis_backends=backend)
    monkeypatch.setattr("trainwright.visualization.visualizer.is_main_process", lambda: False)
    visualizer.add_scalars({"loss": 1.0})
    assert backend.calls == []
    assert backend.opened == 0


def test_two_backends_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two backends are called 'Recorder': give one of them another name"):
        Visualizer(vis_backends=[Recorder(), Recorder()])


def test_what_is_no_backend_is_refused():
    with pytest.raises(ConfigTypeError, match="vis_backends takes configs and BaseVisBackend objects, not a str"):
        Visualizer(vis_backends=["LocalVisBackend"])


def test_a_backend_without_a_folder_is_left_out_with_a_warning():
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}])
    finally:
        logger.removeHandler(handler)
    assert messages == ["LocalVisBackend is not used: it has no folder to write to (save_dir)."]
    visualizer.add_scalar("loss", 1.0)
    with pytest.raises(ConfigError, match="LocalVisBackend has no folder to write to: give it save_dir"):
        LocalVisBackend(None).add_scalar("loss", 1.0)


def test_instances_are_found_by_name():
    class Special(Visualizer):
        pass

    visualizer = Special.get_instance("test_instances_are_found_by_name")
    try:
        assert Visualizer.get_instance("test_instances_are_found_by_name") is visualizer
        assert Visualizer.get_current_instance() is visualizer
    finally:
        visualizer.forget()


def test_registered_under_the_names_configs_use():
    assert VISUALIZERS.get("Visualizer") is Visualizer
    assert VISBACKENDS.get("LocalVisBackend") is LocalVisBackend


def test_the_signature_of_mmengine():
    given = inspect.signature(Visualizer.__init__).parameters
    assert list(given)[1:7] == ["name", "image", "vis_backends", "save_dir", "fig_save_cfg", "fig_show_cfg"]
    sample = inspect.signature(Visualizer.add_datasample).parameters
    assert {name: parameter.default for name, parameter in list(sample.items())[3:]} == {
        "data_sample": None,
        "draw_gt": True,
        "draw_pred": True,
        "show": False,
        "wait_time": 0,
        "step": 0,
    }


def test_a_subclass_draws_a_sample_and_a_backend_gets_graph_and_picture(tmp_path):
    class Boxes(Visualizer):
        def __init__(self, name="visualizer", image=None, vis_backends=None, save_dir=None, line_width=3):
            super().__init__(name=name, image=image, vis_backends=vis_backends, save_dir=save_dir)
            self.line_width = line_width

        def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True, step=0, **kwargs):
            self.set_image(image)
            self.draw_bboxes(data_sample["boxes"], edge_colors=self.dataset_meta["palette"])
            self.add_image(name, self.get_image(), step)

    class Graphs(BaseVisBackend):
        needs_folder = False
        graphs = []

        @force_init_env
        def add_graph(self, model, data_batch, **kwargs):
            self.graphs.append((self._env_initialized, model, data_batch, kwargs))

    visualizer = Boxes(vis_backends=[{"type": "LocalVisBackend"}, Graphs(None)], save_dir=str(tmp_path))
    assert visualizer._image is None
    visualizer.dataset_meta = {"palette": [(255, 0, 0)]}
    sample = {"boxes": np.array([[2, 2, 9, 9]])}
    visualizer.add_datasample("val", np.zeros((12, 16, 3), np.uint8), sample, step=4)
    picture = imread(tmp_path / "vis_data" / "vis_image" / "val_4.png")
    assert picture.shape[:2] == (12, 16)
    assert picture[2, 5, 0] > 0.5
    assert picture[..., 1].max() == 0
    visualizer.add_graph("model", ["batch"], depth=1)
    assert Graphs.graphs == [(True, "model", ["batch"], {"depth": 1})]
    visualizer.close()
    assert Visualizer().add_datasample("a", None) is None


@pytest.mark.peer
@pytest.mark.parametrize(
    "name",
    [
        "Visualizer",
        "LocalVisBackend",
        "WandbVisBackend",
        "TensorboardVisBackend",
        "MLflowVisBackend",
        "ClearMLVisBackend",
        "NeptuneVisBackend",
        "DVCLiveVisBackend",
        "AimVisBackend",
    ],
)
def test_every_public_method_takes_what_that_of_mmengine_takes(name):
    theirs = getattr(pytest.importorskip("mmengine.visualization"), name)
    ours = getattr(visualization, name)
    methods = [name for name, _ in inspect.getmembers(theirs, callable) if name == "__init__" or name[0] != "_"]
    assert len(methods) > 5
    for method in methods:
        wanted = [(p.name, p.default) for p in inspect.signature(getattr(theirs, method)).parameters.values()]
        found = [(p.name, p.default) for p in inspect.signature(getattr(ours, method)).parameters.values()]
        if (name, method) == ("Visualizer", "__init__"):
            # A dict as default is made in the constructor.
            wanted = [(n, None) if n.endswith("_cfg") else (n, default) for n, default in wanted]
        assert found[: len(wanted)] == wanted, method
