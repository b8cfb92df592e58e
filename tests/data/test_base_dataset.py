"""BaseDataset: reading, metainfo, prefixes, samples, refetching, parts."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from typing import Any

import numpy as np
import pytest

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.config import Config
from trainwright.data import BaseDataset, Compose
from trainwright.registry import DATASETS

ANNOTATIONS = {
    "metainfo": {"classes": ["a", "b"], "task": "from file"},
    "data_list": [{"img_path": f"{n}.jpg", "label": n % 2, "box": [n, 0.1 * n]} for n in range(5)],
}


@pytest.fixture
def ann_file(tmp_path) -> str:
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(ANNOTATIONS))
    return str(path)


class Numbers(BaseDataset):
    """`size` annotations, made and not read."""

    METAINFO = {"kind": "numbers"}

    def __init__(self, size: int = 10, **settings: Any) -> None:
        self.size = size
        super().__init__(**settings)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{"n": n, "array": np.arange(n), 3: None} for n in range(self.size)]


def values(dataset: BaseDataset) -> list[int]:
    return [dataset.get_data_info(at)["n"] for at in range(len(dataset))]


def test_it_is_registered():
    assert DATASETS.get("BaseDataset") is BaseDataset


@pytest.mark.parametrize("serialize_data", [True, False])
def test_a_file_and_a_pipeline(ann_file, serialize_data):
    dataset = BaseDataset(
        ann_file, data_prefix={"img_path": "images"}, serialize_data=serialize_data, pipeline=[lambda info: (info, 1)]
    )
    assert len(dataset) == 5
    info, one = dataset[3]
    assert one == 1
    assert info == {"img_path": "images/3.jpg", "label": 1, "box": [3, 0.1 * 3], "sample_idx": 3}
    assert dataset.get_data_info(-1)["sample_idx"] == 4
    assert dataset.get_data_info(-5)["sample_idx"] == 0
    assert isinstance(dataset.pipeline, Compose)
    assert len(list(dataset)) == 5  # by index, until there is none


@pytest.mark.parametrize("serialize_data", [True, False])
def test_a_sample_is_a_copy(serialize_data):
    dataset = Numbers(serialize_data=serialize_data)
    dataset.get_data_info(2)["array"][0] = 99
    assert dataset.get_data_info(2)["array"][0] == 0


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml"])
def test_formats(tmp_path, suffix):
    import yaml

    path = tmp_path / f"ann.{suffix}"
    path.write_text(json.dumps(ANNOTATIONS) if suffix == "json" else yaml.safe_dump(ANNOTATIONS))
    assert BaseDataset(str(path)).get_data_info(1)["box"] == [1, 0.1]


def test_annotations_and_classes_lie_in_a_storage_of_ones_own():
    from trainwright.io import BaseStorageBackend
    from trainwright.io.backends import backends, prefix_to_backends, register_backend

    class Shelf(BaseStorageBackend):
        def get(self, filepath):
            return {"shelf://ann.json": json.dumps(ANNOTATIONS).encode()}[filepath]

        def get_text(self, filepath, encoding="utf-8"):
            return "cat\ndog" if filepath == "shelf://classes.txt" else self.get(filepath).decode(encoding)

    register_backend("shelf", Shelf, prefixes="shelf")
    try:
        dataset = BaseDataset("shelf://ann.json", metainfo={"names": "shelf://classes.txt", "page": "shelf://page"})
    finally:
        del backends["shelf"], prefix_to_backends["shelf"]
    assert dataset.get_data_info(1)["box"] == [1, 0.1]
    assert dataset.metainfo["names"] == ["cat", "dog"]
    assert dataset.metainfo["page"] == "shelf://page"


def test_annotations_that_are_not_serialized_may_be_any_sequence():
    class Rows(BaseDataset):
        def load_data_list(self):
            return tuple({"n": n} for n in range(3))

    assert [sample["n"] for sample in Rows(serialize_data=False, indices=2)] == [0, 1]
    assert Rows(serialize_data=False)[-1] == {"n": 2, "sample_idx": 2}
    with pytest.raises(ConfigTypeError, match=r"Rows.load_data_list must return a list of dicts.* got tuple"):
        Rows()


def test_a_metainfo_file_that_is_not_there_is_told(capsys):
    assert BaseDataset._load_metainfo({"classes": "no_such.txt", "task": "coco"}) == {
        "classes": "no_such.txt",
        "task": "coco",
    }
    text = capsys.readouterr().err
    assert "metainfo names 'no_such.txt', which is no file: it is taken for a text" in text
    assert "coco" not in text


def test_the_order_of_the_metainfo(ann_file, tmp_path):
    class Classes(BaseDataset):
        METAINFO = {"task": "from class", "palette": [1]}

    assert Classes(ann_file).metainfo == {"classes": ["a", "b"], "task": "from class", "palette": [1]}
    given = Classes(ann_file, metainfo={"task": "given"})
    assert given.metainfo["task"] == "given"
    assert given.METAINFO["task"] == "from class"
    given.metainfo["task"] = "changed"
    assert given.metainfo["task"] == "given"
    names = tmp_path / "classes.txt"
    names.write_text("cat\ndog\n")
    assert Classes(ann_file, metainfo={"classes": str(names)}).metainfo["classes"] == ["cat", "dog"]
    assert Classes(ann_file, metainfo=Config({"classes": ["x"]})).metainfo["classes"] == ["x"]
    assert Classes._load_metainfo({"palette": [2]}) == {"task": "from class", "palette": [2]}
    for text in ("no such file", "x" * 5000, "\0", str(tmp_path)):
        assert Classes._load_metainfo({"task": text})["task"] == text


@pytest.mark.parametrize(
    ("root", "ann", "prefix", "expected"),
    [
        ("data", "a.json", {"img": "i/"}, ("data/a.json", {"img": "data/i/"})),
        ("data/", "/abs/a.json", {"img": "/abs/i"}, ("/abs/a.json", {"img": "/abs/i"})),
        ("", "a.json", {"img": "i"}, ("a.json", {"img": "i"})),
        ("data", "", {"img": ""}, ("", {"img": "data/"})),
        ("s3://bucket/data", "a.json", {"img": "i"}, ("s3://bucket/data/a.json", {"img": "s3://bucket/data/i"})),
        ("data", "http://host/a.json", {"img": "s3://b/i"}, ("http://host/a.json", {"img": "s3://b/i"})),
        (None, None, {}, (None, {})),
    ],
)
def test_prefixes(root, ann, prefix, expected):
    given = dict(prefix)
    dataset = Numbers(data_root=root, ann_file=ann, data_prefix=prefix)
    assert (dataset.ann_file, dataset.data_prefix) == expected
    assert prefix == given


def test_what_a_subclass_overrides():
    class Sub(Numbers):
        def parse_data_info(self, raw_data_info):
            raise AssertionError("only load_data_list of the base calls it")

        def filter_data(self):
            return [info for info in self.data_list if info["n"] >= self.filter_cfg["least"]]

        def _join_prefix(self):
            self.ann_file = "joined"

        def get_cat_ids(self, idx):
            return [self.get_data_info(idx)["n"] % 3]

        def prepare_data(self, idx):
            return self.get_cat_ids(idx)

    dataset = Sub(filter_cfg={"least": 4}, indices=3)
    assert values(dataset) == [4, 5, 6]
    assert dataset[1] == [2]
    assert dataset.ann_file == "joined"


def test_several_samples_of_one_annotation(ann_file):
    class Boxes(BaseDataset):
        def parse_data_info(self, raw_data_info):
            return [{"box": value} for value in raw_data_info["box"]]

    assert len(Boxes(ann_file)) == 10


def test_a_subclass_with_a_constructor_of_its_own():
    """As mmseg has one: it does not call the base's, and sets what that would set."""

    class Own(BaseDataset):
        def __init__(self):
            self._metainfo = {}
            self._indices = None
            self.serialize_data = True
            self.test_mode = False
            self.max_refetch = 3
            self.data_list = []
            self.pipeline = Compose([])
            self.full_init()

        def load_data_list(self):
            return [{"n": 1}]

    assert Own()[0] == {"n": 1, "sample_idx": 0}


def test_lazy_init(caplog):
    dataset = Numbers(lazy_init=True)
    assert not dataset._fully_initialized
    assert dataset.metainfo == {"kind": "numbers"}
    with caplog.at_level(logging.WARNING):
        assert len(dataset) == 10
    assert dataset._fully_initialized
    dataset.data_list = None
    dataset.full_init()  # once
    assert Numbers(lazy_init=True)[3]["n"] == 3
    assert Numbers(lazy_init=True).get_data_info(3)["n"] == 3
    assert len(Numbers(lazy_init=True).get_subset(4)) == 4


def test_only_what_has_full_init_can_be_initialised_late():
    from trainwright.data import force_full_init

    with pytest.raises(AttributeError, match="int has no full_init method"):
        force_full_init(lambda obj: obj)(3)


# a dropped sample -----------------------------------------------------------------------------------------------------


def odd(info: dict[str, Any]) -> dict[str, Any] | None:
    return info if info["n"] % 2 else None


def test_another_sample_takes_the_place_of_a_dropped_one():
    dataset = Numbers(pipeline=[odd])
    np.random.seed(4)
    found = [dataset[at]["n"] for at in range(10)]
    np.random.seed(4)
    expected = []
    for at in range(10):
        while at % 2 == 0:
            at = int(np.random.randint(0, 10))
        expected.append(at)
    assert found == expected


def test_a_pipeline_that_drops_everything():
    dataset = Numbers(pipeline=[lambda info: None], max_refetch=5)
    message = r"pipeline of Numbers gave None for sample 7 and for 5 others.*\(max_refetch\)"
    with pytest.raises(DataError, match=message):
        dataset[7]
    with pytest.raises(DataError, match="has None for sample 2, and with test_mode=True no other sample"):
        Numbers(pipeline=[odd], test_mode=True)[2]
    assert Numbers(pipeline=[odd], test_mode=True)[3]["n"] == 3


# parts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serialize_data", [True, False])
@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        (3, [0, 1, 2]),
        (0, []),
        (10, list(range(10))),
        (-3, [7, 8, 9]),
        (-10, list(range(10))),
        ([4, 0, -1, 4], [4, 0, 9, 4]),
        ([-10], [0]),
        ((), []),
        (range(2, 8, 2), [2, 4, 6]),
    ],
)
def test_subsets(serialize_data, indices, expected):
    dataset = Numbers(serialize_data=serialize_data, pipeline=[lambda info: info["n"]])
    part = dataset.get_subset(indices)
    assert type(part) is Numbers
    assert values(part) == expected
    assert len(dataset) == 10
    assert part.pipeline is not dataset.pipeline
    assert [part[at] for at in range(len(part))] == expected
    of_part = copy.deepcopy(part)
    assert values(of_part) == expected
    dataset.get_subset_(indices)
    assert values(dataset) == expected
    assert values(Numbers(serialize_data=serialize_data, indices=indices)) == expected


def test_more_than_there_are_means_all_when_it_is_built():
    assert len(Numbers(indices=99)) == len(Numbers(indices=-99)) == 10


@pytest.mark.parametrize("serialize_data", [True, False])
@pytest.mark.parametrize("indices", [11, -11, [3, 10], [-11]])
def test_wrong_indices(serialize_data, indices):
    dataset = Numbers(serialize_data=serialize_data)
    wrong = indices if isinstance(indices, int) else indices[-1]
    for method in (dataset.get_subset, dataset.get_subset_):
        with pytest.raises(ConfigError, match=f"index {wrong} is outside the dataset, which has 10 samples"):
            method(indices)
    if not isinstance(indices, int):
        with pytest.raises(ConfigError, match="is outside the dataset"):
            Numbers(serialize_data=serialize_data, indices=indices)


@pytest.mark.parametrize("indices", [1.5, "12", np.arange(3)])
def test_indices_of_a_wrong_type(indices):
    with pytest.raises(ConfigTypeError, match="must be an integer or a sequence of integers, got .*tolist"):
        Numbers().get_subset(indices)


def test_an_index_that_is_not_there():
    for at in (10, -11):
        with pytest.raises(IndexError, match=f"index {at} is out of range: the dataset has 10 samples"):
            Numbers().get_data_info(at)


def test_an_empty_dataset():
    dataset = Numbers(0)
    assert len(dataset) == 0
    assert len(dataset.get_subset(0)) == 0


# bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("[1]", ConfigTypeError, "must hold a dict with metainfo and data_list, it holds a list"),
        ('{"metainfo": {}}', ConfigError, "it has no data_list; for another format override BaseDataset.load_data_l"),
        ("{}", ConfigError, "it has no metainfo and no data_list"),
        ("{", ConfigError, "ann_file '.*ann.json' of BaseDataset cannot be read: "),
        ('{"metainfo": {}, "data_list": [{"a": 1}]}', ConfigError, "names the field 'img_path', which an annotation"),
    ],
)
def test_files_that_are_no_annotations(tmp_path, content, error, message):
    path = tmp_path / "ann.json"
    path.write_text(content)
    with pytest.raises(error, match=message):
        BaseDataset(str(path))


def test_annotations_that_are_no_yaml(tmp_path):
    path = tmp_path / "ann.yaml"
    path.write_text("a: [1")
    with pytest.raises(ConfigError, match=r"ann_file '.*ann.yaml' of BaseDataset cannot be read: while parsing"):
        BaseDataset(str(path))


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match="BaseDataset has no ann_file, and does not override load_data_list"):
        BaseDataset()
    with pytest.raises(DataError, match=r"ann_file '.*/none.json' of BaseDataset does not exist; a relative path is"):
        BaseDataset("none.json", data_root=str(tmp_path))
    with pytest.raises(ConfigError, match="'a.pkl' of BaseDataset is a pickle, which can run code"):
        BaseDataset("a.pkl")


def test_a_pickle_where_pickles_are_trusted(tmp_path, monkeypatch):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"metainfo": {"classes": ["a"]}, "data_list": [{"n": 1}]}))
    monkeypatch.setattr(defaults, "trusts_pickles", True)
    assert BaseDataset(str(path), data_prefix={}).get_data_info(0)["n"] == 1
    with pytest.raises(DataError, match=r"ann_file '.*/none.pkl' of BaseDataset does not exist"):
        BaseDataset(str(tmp_path / "none.pkl"))


@pytest.mark.parametrize("found", [None, ({"n": 1},), {"n": 1}])
def test_no_list(found):
    class Bad(BaseDataset):
        def load_data_list(self):
            return found

    with pytest.raises(ConfigTypeError, match=f"Bad.load_data_list must return a list.*got {type(found).__name__}"):
        Bad()

    class Filters(Numbers):
        def filter_data(self):
            return found

    with pytest.raises(ConfigTypeError, match=r"Filters\.filter_data must return a list of dicts"):
        Filters()


@pytest.mark.parametrize("parsed", [None, 3, [{"a": 1}, 3]])
def test_annotations_that_are_no_dicts(ann_file, parsed):
    class Bad(BaseDataset):
        def parse_data_info(self, raw_data_info):
            return parsed

    with pytest.raises(ConfigTypeError, match=r"Bad\.parse_data_info must return a dict or a list of dicts, got "):
        Bad(ann_file)


def test_settings_of_a_wrong_type():
    with pytest.raises(ConfigTypeError, match=r"metainfo of Numbers must be a mapping or a Config, got list: \['a'\]"):
        Numbers(metainfo=["a"])
    with pytest.raises(ConfigTypeError, match="data_prefix of Numbers must hold strings, 'img' is int: 3"):
        Numbers(data_prefix={"img": 3})
    with pytest.raises(NotImplementedError, match=r"Numbers has no get_cat_ids\(idx\), which ClassBalancedDataset"):
        Numbers().get_cat_ids(0)


def test_annotations_that_cannot_be_stored():
    class Bad(BaseDataset):
        def load_data_list(self):
            return [{"f": 1}, {"f": lambda: 1}]

    with pytest.raises(DataError, match=r"annotation 1 cannot be stored as bytes.*serialize_data=False"):
        Bad()


def test_it_can_be_pickled_and_copied():
    dataset = Numbers(pipeline=[odd])
    kept = pickle.dumps(dataset)
    del dataset
    again = pickle.loads(kept)
    assert values(again) == list(range(10))
    assert type(again.data_bytes) is np.ndarray
