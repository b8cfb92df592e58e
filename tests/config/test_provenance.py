"""Origins, overrides, leaves and references; and inheritance in both syntaxes."""

import copy
import pickle
import subprocess
import sys

import pytest
from provenance_tools import STAR, check, line_of, place, source, text_file

from trainwright.config import ConfigDict
from trainwright.config.origins import Origin, origins, references, trace
from trainwright.config.sources import Base, Override, SourceFile

BASE = """
    model = dict(
        type='Net',
        backbone=dict(
            type='ResNet',
            depth=18),
        head=dict(type='Head', classes=10),
    )
    pipeline = [
        dict(type='Load'),
        dict(type='Flip',
             prob=0.5),
    ]
    lr = 0.1
"""


@pytest.fixture
def base():
    return text_file("base.py", BASE)


# -- Origin ------------------------------------------------------------------------------------------------------------
def test_an_origin_in_the_current_folder_is_written_relative_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(Origin(str(tmp_path / "configs" / "a.py"), 12)) == "configs/a.py:12"
    assert str(Origin(str(tmp_path) + "2/a.py", 12)) == f"{tmp_path}2/a.py:12"
    assert str(Origin("/elsewhere/a.py", 3)) == "/elsewhere/a.py:3"
    assert str(Origin("/elsewhere/a.py", None)) == "/elsewhere/a.py"


def test_an_origin_without_a_file_is_its_label():
    assert str(Origin(None, None, "override", "--cfg-options")) == "--cfg-options"
    assert str(Origin(None, None, "default", "default")) == "default"


def test_an_origin_is_written_though_the_current_folder_is_gone(tmp_path, monkeypatch):
    def gone():
        raise FileNotFoundError

    monkeypatch.setattr("os.getcwd", gone)
    assert str(Origin("/elsewhere/a.py", 3)) == "/elsewhere/a.py:3"


# -- text syntax -------------------------------------------------------------------------------------------------------
def test_a_single_file(base):
    check(
        base,
        {
            "model": "model = dict(",
            "model.type": "'Net'",
            "model.backbone": "backbone=",
            "model.backbone.depth": "depth=18",
            "model.head.classes": "classes=10",
            "pipeline": "pipeline = [",
            "pipeline.0.type": "'Load'",
            "pipeline.1": "'Flip'",
            "pipeline.1.prob": "prob=",
            "pipeline.2": (base, None),
            "model.nothing": (base, None),
            "nothing": (base, None),
            "lr.deeper": (base, None),
        },
    )


def test_an_origin_says_that_it_is_a_file(base):
    origin = trace(base, [], ("lr",))
    assert origin == Origin(base.path, line_of(base, "lr = 0.1"), "file")
    assert trace(base, [], ()) is None


def test_a_childs_dict_merges_and_a_childs_list_replaces(base):
    mid = text_file("mid.py", "_base_ = 'base.py'\nmodel = dict(\n    backbone=dict(depth=34))\n", base)
    child = text_file(
        "child.py",
        "_base_ = 'mid.py'\nmodel = dict(\n  head=dict(\n    classes=20))\npipeline = [\n  dict(a=1)]\n",
        mid,
    )
    check(
        child,
        {
            "model": (base, "model = dict("),
            "model.type": (base, "'Net'"),
            "model.backbone": (base, "backbone="),
            "model.backbone.type": (base, "'ResNet'"),
            "model.backbone.depth": (mid, "depth=34"),
            "model.head.classes": "classes=20",
            "model.head.type": (base, "'Head'"),
            "pipeline": "pipeline = [",
            "pipeline.0.a": "a=1",
            "pipeline.1": (base, None),
            "lr": (base, "lr = 0.1"),
        },
    )


def test_delete_leaves_nothing_of_the_base(base):
    child = text_file(
        "child.py",
        """
        _base_ = 'base.py'
        model = dict(
            backbone=dict(_delete_=True,
                          width=2),
            head=dict(_delete_=False, classes=3))
        new = dict(_delete_=True, a=1)
        """,
        base,
    )
    check(
        child,
        {
            "model.backbone": "backbone=",
            "model.backbone.width": "width=2",
            "model.backbone.depth": (base, None),
            "model.backbone._delete_": (base, None),
            "model.head.type": (base, "'Head'"),
            "model.head.classes": "classes=3",
            "new.a": "new =",
            "new._delete_": "new =",
        },
    )


def test_several_bases(base):
    other = text_file("other.py", "schedule = dict(\n  epochs=12)\n")
    child = text_file("child.py", "_base_ = ['base.py', 'other.py']\nschedule = dict(step=1)\n", base, other)
    check(
        child,
        {
            "schedule.epochs": (other, "epochs=12"),
            "schedule.step": "step=1",
            "model.head.classes": (base, "classes=10"),
        },
    )


def test_values_of_the_base_in_python(base):
    child = text_file(
        "child.py",
        """
        _base_ = ['base.py']
        train_pipeline = _base_.pipeline
        test_pipeline = [_base_.pipeline[0],
                         dict(type='Pad'), *_base_.pipeline[1:]]
        classes = _base_.model.head.classes
        scaled = _base_.lr * 2
        _base_.model.backbone.depth = 50
        _base_.model.head.update(dict(loss=dict(type='CE')))
        _base_.model['neck'] = dict(levels=4)
        _base_.extra = 5
        del _base_.lr
        """,
        base,
    )
    check(
        child,
        {
            "train_pipeline.1.prob": (base, "prob=0.5"),
            "test_pipeline": "test_pipeline = [",
            "test_pipeline.0.type": (base, "'Load'"),
            "test_pipeline.1.type": "'Pad'",
            "test_pipeline.2.prob": (base, "prob=0.5"),
            "classes": (base, "classes=10"),
            "scaled": "scaled =",
            "model.backbone.depth": "depth = 50",
            "model.backbone.type": (base, "'ResNet'"),
            "model.head.loss.type": "loss=",
            "model.head.classes": (base, "classes=10"),
            "model.neck.levels": "levels=4",
            "extra": "extra = 5",
            "lr": (base, None),
        },
    )


def test_values_of_the_base_in_double_braces(base):
    child = text_file(
        "child.py",
        "_base_ = 'base.py'\ntest_pipeline = __tw_base_0__\ntext = 'lr is __tw_base_1__'\nlost = __tw_base_2__\n",
        base,
        base_keys=["pipeline", "lr", "no.such"],
    )
    check(
        child,
        {
            "test_pipeline.0.type": (base, "'Load'"),
            "test_pipeline": (base, "pipeline = ["),
            "text": "text =",
            "lost": "lost =",
        },
    )


def test_the_scope_of_a_base_from_a_package_is_set_where_the_base_is_named(base):
    text = "_base_ = ['other.py',\n  'mmdet::base.py']\nmodel = dict(\n  head=dict(classes=3))\nalias = _base_.lr\n"
    child = text_file("child.py", text, text_file("other.py", "other = dict(type='A', _x=1)\n"), base)
    check(
        child,
        {
            "model._scope_": "mmdet::base.py",
            "pipeline.0._scope_": "mmdet::base.py",
            "model.head._scope_": (
                base,
                "head=dict(",
            ),  # not the reader's rule: whoever put it there, the dict is from here
            "other._scope_": (child.bases[0].file, "other ="),
        },
    )


def test_a_merge_into_what_is_no_dict_replaces():
    old = text_file("old.py", "a = 1\nb = make()\n")
    child = text_file("child.py", "_base_ = 'old.py'\na = dict(\n  x=2)\nb = dict(\n  y=3)\n", old)
    check(child, {"a": "a = dict(", "a.x": "x=2", "b.y": "y=3", "b.other": (old, "b = make()")})


def test_keys_that_the_evaluation_did_not_leave_do_not_count(base):
    child = text_file("child.py", "import model\nif unknown():\n    lr = 1\n", base, keys=["steps"])
    assert place(child, "lr") == ("base.py", line_of(base, "lr = 0.1"))
    assert place(child, "model.type") == ("base.py", line_of(base, "'Net'"))
    assert place(child, "steps") == ("child.py", None)
    assert str(trace(child, [], ("steps", "deeper"))) == "child.py"


# -- import syntax -----------------------------------------------------------------------------------------------------
def imports(*statements):
    body = "".join(f"    {statement}\n" for statement in statements)
    return f"from mmengine.config import read_base\nwith read_base():\n{body}"


def test_names_of_the_base_are_there_and_assignments_replace_them(base):
    text = imports("from .base import *") + "model = dict(\n  head=dict(classes=3))\nlr = lr\nmine = pipeline\n"
    child = text_file("child.py", text, (base, 3, STAR))
    check(
        child,
        {
            "model.head.classes": "classes=3",
            "model.backbone": (base, None),
            "lr": (base, "lr = 0.1"),
            "mine.1.prob": (base, "prob="),
            "pipeline": (base, "pipeline = ["),
        },
    )


def test_update_of_a_name_from_the_base_merges(base):
    text = imports("from .base import *") + (
        "model.update(dict(\n  backbone=dict(\n    depth=50)))\n"
        "model['head']['classes'] = 3\nmodel.backbone.width = 2\nmodel.merge(dict(neck=dict(levels=5)))\n"
        "pipeline[1].update(prob=1.0)\npipeline.insert(1, dict(type='Pad'))\n"
    )
    child = text_file("child.py", text, (base, 3, STAR))
    check(
        child,
        {
            "model": (base, "model = dict("),
            "model.backbone.depth": "depth=50",
            "model.backbone.type": (base, "'ResNet'"),
            "model.backbone.width": "width = 2",
            "model.head.classes": "= 3",
            "model.head.type": (base, "'Head'"),
            "model.neck.levels": "levels=5",
            "pipeline.1.type": "'Pad'",
            "pipeline.2.prob": "prob=1.0",
            "pipeline.2.type": (base, "'Flip'"),
        },
    )


def test_update_of_a_dict_of_the_file_replaces():
    file = text_file("a.py", "m = dict(\n  a=dict(x=1))\nm.update(dict(\n  a=dict(y=2)))\n")
    check(file, {"m.a.y": "y=2", "m.a.x": (file, None)})


def test_named_imports_from_several_bases(base):
    other = text_file("sub/other.py", "model = dict(\n  type='B')\n_hidden = 1\n")
    text = imports("from .base import model as first, lr", "from pkg.sub.other import *") + "both = [first, model]\n"
    child = text_file("child.py", text, (base, 3, (("model", "first"), ("lr", "lr"))), (other, 4, STAR))
    check(
        child,
        {
            "first.type": (base, "'Net'"),
            "lr": (base, "lr = 0.1"),
            "pipeline": (base, None),
            "model.type": (other, "'B'"),
            "both.0.backbone.depth": (base, "depth=18"),
            "both.1.type": (other, "'B'"),
            "_hidden": (other, "_hidden"),
        },
    )


def test_a_chain_of_import_files_with_classes(base):
    mid_text = "from torch.optim import SGD\n" + imports("from .base import *") + "opt = dict(\n  type=SGD,\n  lr=lr)\n"
    mid = text_file("mid.py", mid_text, (base, 4, STAR))
    text = imports("from .mid import *") + "opt.update(\n  type=SGD)\nmodel.type = nn.Net(\n  3)\n"
    child = text_file("child.py", text, (mid, 3, STAR))
    check(mid, {"opt.type": "type=SGD", "opt.lr": (base, "lr = 0.1"), "SGD": "import SGD"})
    check(child, {"opt.type": "type=SGD", "opt.lr": (base, "lr = 0.1"), "model.type": "nn.Net"})


def test_what_a_child_changes_stays_unchanged_in_the_base_and_for_other_keys():
    base = text_file("base.py", "norm = dict(type='BN')\nmodel = dict(a=norm, b=norm)\n")
    child = text_file("child.py", imports("from .base import *") + "model.a.type = 'LN'\n", (base, 3, STAR))
    check(child, {"model.a.type": "'LN'", "model.b.type": (base, "type='BN'"), "norm.type": (base, "type='BN'")})
    check(base, {"model.a.type": "type='BN'"})


def test_the_first_block_of_bases_is_there_before_the_file_runs(base):
    child = text_file("child.py", "lr = 5\n" + imports("from .base import *"), (base, 4, STAR))
    check(child, {"lr": "lr = 5", "pipeline.0.type": (base, "'Load'")})


def test_a_second_block_of_bases_comes_where_it_stands(base):
    other = text_file("other.py", "other = 1\n")
    text = imports("from .other import *") + "lr = 5\nif True:\n    with read_base():\n        from .base import lr\n"
    child = text_file("child.py", text, (other, 3, STAR), (base, 7, (("lr", "lr"),)))
    check(child, {"lr": (base, "lr = 0.1"), "other": (other, "other")})


# -- overrides ---------------------------------------------------------------------------------------------------------
def test_an_override_counts_for_its_key_and_what_it_holds(base):
    overrides = [
        Override(("model", "backbone", "depth"), 50, "--cfg-options"),
        Override(("new", "x"), 1, "merge_from_dict"),
    ]
    assert place(base, "model.backbone.depth", overrides) == "--cfg-options"
    assert trace(base, overrides, ("model", "backbone", "depth")) == Origin(None, None, "override", "--cfg-options")
    assert place(base, "new.x", overrides) == "merge_from_dict"
    assert place(base, "new", overrides) == "merge_from_dict"
    check(base, {"model.backbone.type": "'ResNet'", "model": "model = dict("}, overrides)


def test_a_dict_overrides_by_merging_unless_it_deletes(base):
    merging = [Override(("model",), ConfigDict(head={"classes": 3}), "cli")]
    assert place(base, "model.head.classes", merging) == "cli"
    assert place(base, "model.head.type", merging) == ("base.py", line_of(base, "'Head'"))
    deleting = [Override(("model",), {"_delete_": True, "type": "Other"}, "cli")]
    assert place(base, "model.type", deleting) == "cli"
    assert place(base, "model.head.type", deleting) is None


def test_the_last_override_wins(base):
    first, last = Override(("lr",), 1, "first"), Override(("lr",), 2, "last")
    assert place(base, "lr", [first, last]) == "last"
    assert place(base, "lr", [last, first]) == "first"
    whole = Override(("model", "head"), [1, [2]], "whole")
    assert place(base, "model.head.1.0", [Override(("model", "head", "classes"), 1, "x"), whole]) == "whole"


@pytest.mark.parametrize("index", [1, "1"])
def test_an_item_of_a_list_is_overridden_by_its_index(base, index):
    overrides = [Override(("pipeline", index, "prob"), 1.0, "cli")]
    assert place(base, "pipeline.1.prob", overrides) == "cli"
    check(base, {"pipeline.1.type": "'Flip'", "pipeline.0.type": "'Load'", "pipeline": "pipeline = ["}, overrides)
    as_dict = [Override(("pipeline",), {str(index): {"prob": 1.0}}, "cli")]
    assert place(base, ("pipeline", "1", "prob"), as_dict) == "cli"
    assert place(base, "pipeline.1.type", as_dict) == ("base.py", line_of(base, "'Flip'"))


def test_an_item_of_a_list_of_unknown_length_is_overridden():
    file = text_file("a.py", "p = [\n  1,\n  *more()]\nq = more()\n")
    overrides = [Override(("p", "3", "x"), 1, "cli"), Override(("q", 0, "x"), 1, "cli"), Override(("q", "1"), 1, "cli")]
    assert [place(file, path, overrides) for path in ("p.3.x", "q.0.x", "q.1")] == ["cli"] * 3
    check(file, {"p.0": "  1,", "p.1": "p = [", "p.3.y": "p = [", "q.0.y": "q =", "q.2": "q ="}, overrides)


def test_overrides_without_a_file_and_of_lazy_values():
    overrides = [Override(("a", "b"), object(), "code")]
    assert place(None, "a.b", overrides) == "code"
    assert place(None, "a.c", overrides) is None


def test_overrides_do_not_change_what_was_read(base):
    place(base, "lr", [Override(("lr",), 1, "x"), Override(("pipeline", 0, "type"), 1, "x")])
    check(base, {"lr": "lr = 0.1", "pipeline.0.type": "'Load'"})


# -- origins -----------------------------------------------------------------------------------------------------------
def test_origins_gives_every_leaf_in_the_order_of_the_tree():
    file = text_file("a.py", "a = dict(\n  x=1,\n  y=[],\n  z=(2,\n     {}))\nb = None\n")
    tree = {"b": None, "a": {"x": 1, "y": [], "z": (2, {})}, "c": {"d": 4}}
    found = [(keys, value, None if origin is None else origin.line) for keys, value, origin in origins(file, [], tree)]
    assert found == [
        (("b",), None, 6),
        (("a", "x"), 1, 2),
        (("a", "y"), [], 3),
        (("a", "z", 0), 2, 4),
        (("a", "z", 1), {}, 5),
        (("c", "d"), 4, None),
    ]


def test_origins_agrees_with_trace_and_builds_nothing(base):
    class Builds(dict):
        def items(self):
            raise AssertionError("this builds lazy objects")

    overrides = [Override(("lr",), 1, "cli")]
    tree = Builds(model=Builds(type="Net", backbone=Builds(depth=18)), lr=1)
    found = {keys: origin for keys, _, origin in origins(base, overrides, tree)}
    assert found == {keys: trace(base, overrides, keys) for keys in found}
    assert found["lr",].label == "cli"
    assert list(origins(None, [], {})) == [((), {}, Origin(None, None))]


# -- references --------------------------------------------------------------------------------------------------------
def test_references_are_the_names_that_any_file_reads(base):
    mid = text_file(
        "mid.py", "_base_ = 'base.py'\nscale = 2\nsize = [scale, _base_.lr]\nx = _base_['pipeline']\n", base
    )
    child = text_file(
        "child.py",
        "a = __tw_base_0__\nb = f'{size} {run()}'\nunread = 3\nmodel = 3\nmodel.update(x=1)\nmodel.a['b'] = key\n"
        "_base_.extra.b = 1\ndel model.c[0]\ntotal += 1\n",
        mid,
        base_keys=["deep.key"],
    )
    assert references(child) - {"dict"} == {"scale", "size", "lr", "pipeline", "deep", "run", "key"}
    assert references(None) == frozenset()


def test_references_of_files_without_names(tmp_path):
    assert references(text_file("a.json", '{"a": "b"}')) == frozenset()
    assert references(text_file("a.py", "a = (\n")) == frozenset()


# -- nothing goes wrong ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["a = (", "\0", "a = " + "(" * 300 + ")" * 300, "a = " + "-" * 5000 + "1"])
def test_a_file_that_cannot_be_followed_has_no_origins(text):
    assert place(text_file("a.py", text), "a.b") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '{"a": '), ("a.json", "[1]"), ("a.yaml", "a: [1"), ("a.yaml", ""), ("a.json", '{"a": x}')],
)
def test_a_data_file_that_cannot_be_followed_has_no_origins(name, text):
    assert place(text_file(name, text), "a.b") is None


def test_strange_keys_have_no_origin(base):
    assert trace(base, [], ("model", [])) is None
    assert trace(base, [], ("pipeline", None)) is None
    assert trace(base, [], ("pipeline", -1, "prob")) is not None


def test_files_that_are_their_own_base_end():
    one = text_file("one.py", "a = 1\n")
    two = text_file("two.py", "b = 2\n", one)
    one.bases.append(Base(two, 1))
    check(one, {"a": "a = 1", "b": (two, "b = 2")})


def test_an_override_that_nests_without_end_is_no_recursion_error(base):
    endless = {}
    endless["x"] = endless
    assert trace(base, [Override(("a",), endless, "cli")], ("a", "x")) is None
    assert next(origins(base, [Override(("a",), endless, "cli")], {"lr": 1}))[2] is None


def test_a_source_with_its_index_can_be_copied_and_pickled(base):
    child = text_file("child.py", "from x import Y\na = Y\nb = make()\n_base_.lr = 3\n", base)
    place(child, "lr")
    for other in (copy.deepcopy(child), pickle.loads(pickle.dumps(child))):
        assert isinstance(other, SourceFile)
        check(other, {"lr": "lr = 3", "a": "a = Y", "b.c": "make"})
        other.index = None
        check(other, {"lr": "lr = 3", "a": "a = Y", "b.c": "make"})


def test_reading_a_config_does_not_load_any_of_this():
    code = "import sys, trainwright.config; print([m for m in sys.modules if 'provenance' in m or '.lines' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_index_is_made_once(base, monkeypatch):
    first = trace(base, [], ("lr",))
    base.code = "lr = (\n"
    assert trace(base, [], ("lr",)) == first
    assert source("b.py", "a = 1").index is None
