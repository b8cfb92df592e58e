"""Where YAML and JSON write their values."""

import datetime

import pytest
from provenance_tools import check, place, text_file


def test_yaml_in_block_and_flow_style():
    file = text_file(
        "a.yaml",
        """
        # a comment
        model:
          type: Net
          depth:   # the value is below
            18
          flow: {a: 1,
                 b: [2,
                     3]}
          text: |
            first
            second
        list:
        - x: 1
          y: 2
        -
          - deep
        1: one
        null: none
        false: no
        "quoted\\n": 5
        """,
    )
    check(
        file,
        {
            "model": "model:",
            "model.type": "type: Net",
            "model.depth": "    18",
            "model.flow": "flow:",
            "model.flow.a": "flow:",
            "model.flow.b": "b: [2",
            "model.flow.b.1": "3]}",
            "model.text": "text: |",
            "list": "list:",
            "list.0": "- x: 1",
            "list.0.y": "y: 2",
            "list.1.0": "deep",
            ("1",): "1: one",
            (1,): "1: one",
            (None,): "null: none",
            (False,): "false: no",
            ("quoted\n",): "quoted",
        },
    )


def test_yaml_dates_and_tuples_as_keys():
    file = text_file("a.yml", "2020-01-01: date\n? !!python/tuple [k, 1]\n: pair\n? {a: 1}\n: lost\n")
    check(file, {(datetime.date(2020, 1, 1),): "date", (("k", 1),): "pair"})


def test_yaml_pairs():
    file = text_file("a.yaml", "p: !!pairs\n- a: 1\n- b:\n    2\no: !!omap [c: 3,\n  d: 4]\n")
    check(file, {"p": "p:", "p.0.1": "a: 1", "p.1.0": "b:", "p.1.1": "    2", "o.1.1": "d: 4"})


def test_yaml_anchors_give_the_line_of_the_anchor():
    file = text_file(
        "a.yaml",
        """
        base: &base
          x: 1
          y: &why 2
        other: &other {x: 3, z: 4}
        alias: *base
        item: [*why]
        merged:
          <<: *base
          y: 5
        many:
          y: 6
          <<: [*base, *other]
        text: &t hello
        twin: *t
        """,
    )
    check(
        file,
        {
            "alias.x": "x: 1",
            "item.0": "&why",
            "merged": "merged:",
            "merged.x": "x: 1",
            "merged.y": "y: 5",
            "many.x": "x: 1",
            "many.y": "y: 6",
            "many.z": "z: 4",
            "twin": "&t hello",
        },
    )


def test_yaml_keys_that_are_written_twice_and_anchors_that_hold_themselves():
    check(text_file("a.yaml", "a: 1\na: 2\n"), {"a": "a: 2"})
    assert place(text_file("a.yaml", "a: &a\n  b: *a\n  c: 1\n"), "a.b.b.b.c") == ("a.yaml", 3)


def test_json():
    file = text_file(
        "a.json",
        """
        {
        \t"model": {"type": "N{e}t, [\\"x\\"]: 1",
                    "depth": 18 },
          "list": [1, [2,
                       3.5e1], {}, [],
             {"a"
                :
                null}],
          "twice": 1, "twice":
             true,
          "\\u00fcml\\u00e4ut": "\\\\", "ünïcode": -1,
          "last": NaN
        }
        """,
    )
    check(
        file,
        {
            "model": '"model"',
            "model.type": '"model"',
            "model.depth": "18",
            "list.1": '"list"',
            "list.1.1": "3.5e1",
            "list.2": "3.5e1",
            "list.3": "3.5e1",
            "list.4": '{"a"',
            "list.4.a": "null",
            "twice": "true",
            "ümläut": "u00fc",
            "ünïcode": "u00fc",
            "last": "NaN",
        },
    )


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_data_files_with_bases_and_values_of_them(suffix):
    base = text_file(f"base{suffix}", '{"model": {"depth": 18,\n  "width": 2},\n "name": "n"}')
    child = text_file(
        f"child{suffix}",
        '{"_base_": "base",\n "model": {\n  "width": 3},\n "copy": "__tw_base_0__",\n "text": "x__tw_base_1__",\n'
        ' "__tw_base_1__": 4,\n "lost": "__tw_base_2__",\n "plain": "__tw_base_99__"}',
        base,
        base_keys=["model", "name", "no.such"],
    )
    check(
        child,
        {
            "model.depth": (base, "depth"),
            "model.width": '"width": 3',
            "copy.depth": (base, "depth"),
            "copy.width": (base, "width"),
            "text": '"text"',
            "n": '"__tw_base_1__": 4',
            "lost": '"lost"',
            "_base_": (child, None),
        },
    )


def test_a_python_file_inherits_from_data():
    base = text_file("base.yaml", "a:\n  x: 1\n  y: 2\nkey: y\n")
    child = text_file("child.py", "_base_ = 'base.yaml'\na = dict(x=3)\npicked = _base_.a[_base_.key]\n", base)
    check(child, {"a.x": "x=3", "a.y": (base, "y: 2"), "picked": (base, "y: 2")})


def test_billion_laughs_end():
    text = "a: &a [1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
    )
    base = text_file("base.yaml", text)
    child = text_file("child.py", "b = 1\n", base)
    assert place(base, "a.0") == ("base.yaml", 1)
    assert place(child, "c.0") is None
