"""Configs in which every number tells the line that it is written on, and in which file. Read as any config is, each
leaf of the tree must have the origin that it tells.
"""

import copy
import itertools
import os
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.config import Config

FILE_STEP = 100_000  # number = file * FILE_STEP + line, files from 1; smaller ones are no leaves but counters of loops
PROFILE = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


_counter = itertools.count()


def fresh_names(n):
    """Names that no other example has: the reader keeps what it parsed by path."""
    run = next(_counter)
    return [f"f{run}_{i}.py" for i in range(n)]


def check_tree(cfg, names):
    """Every number below `cfg` has the origin it tells; gives how many there were."""
    leaves = list(numbers(cfg._to_lazy_dict(), ()))
    for keys, number in leaves:
        origin = cfg.origin(keys)
        assert origin is not None, (keys, number, cfg.text)
        told = names[number // FILE_STEP - 1], number % FILE_STEP
        assert (os.path.basename(origin.file), origin.line) == told, (keys, number, cfg.text)
    return len(leaves)


def numbers(value, keys):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, (*keys, key))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from numbers(item, (*keys, i))
    elif type(value) is int and value > FILE_STEP:
        yield keys, value


# -- nested literals ---------------------------------------------------------------------------------------------------
KEYS = st.sampled_from(["a", "b", "c", "model"])
SHAPES = st.recursive(
    st.none(),
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: ("dict", d)),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: ("braces", d)),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: ("delete", d)),
        st.lists(inner, max_size=3).map(lambda items: ("list", items)),
        st.lists(inner, max_size=3).map(lambda items: ("tuple", items)),
    ),
    max_leaves=10,
)
FILES = st.lists(st.dictionaries(KEYS, SHAPES, max_size=4), min_size=2, max_size=3)


class Writer:
    """Writes shapes as code, a line break now and then, each leaf the number of its line."""

    def __init__(self, file, breaks, text):
        self.file, self.breaks, self.text = file, breaks, text

    def line(self):
        return self.text.count("\n") + 1

    def write(self, shape):
        if shape is None:
            self.text += str(self.file * FILE_STEP + self.line())
            return
        kind, items = shape
        brackets = {"dict": "dict()", "braces": "{}", "delete": "{}", "list": "[]", "tuple": "()"}[kind]
        self.text += brackets[:-1]
        if kind == "delete":
            self.text += "'_delete_': True,"
        pairs = items.items() if isinstance(items, dict) else ((None, item) for item in items)
        for key, item in pairs:
            self.text += "\n " if next(self.breaks) else ""
            self.text += {"dict": f"{key}=", "braces": f"{key!r}: ", "delete": f"{key!r}: "}.get(kind, "")
            self.write(item)
            self.text += ","
        self.text += brackets[-1]


def write_files(folder, names, files, breaks, heads):
    for i, (name, file) in enumerate(zip(names, files, strict=True)):
        writer = Writer(i + 1, breaks, heads[i])
        for key, shape in file.items():
            writer.text += f"{key} = "
            writer.write(shape)
            writer.text += "\n"
        (folder / name).write_text(writer.text)


BREAKS = st.lists(st.booleans(), min_size=1, max_size=7).map(itertools.cycle)


@PROFILE
@given(files=FILES, breaks=BREAKS)
def test_chains_in_text_syntax(folder, files, breaks):
    names = fresh_names(len(files))
    heads = [f"_base_ = './{names[i - 1]}'\n" if i else "" for i in range(len(files))]
    write_files(folder, names, files, breaks, heads)
    try:
        cfg = Config.fromfile(folder / names[-1])
    except ConfigTypeError:
        assume(False)  # a dict here, a number there
    check_tree(cfg, names)


@PROFILE
@given(files=FILES, breaks=BREAKS)
def test_chains_in_import_syntax(folder, files, breaks):
    names = fresh_names(len(files))
    start = "from trainwright.config import read_base\n"
    heads = [
        f"{start}with read_base():\n    from .{names[i - 1][:-3]} import *\n" if i else "" for i in range(len(files))
    ]
    write_files(folder, names, files, breaks, heads)
    check_tree(Config.fromfile(folder / names[-1]), names)


# -- data files --------------------------------------------------------------------------------------------------------
DATA_SHAPES = st.dictionaries(
    KEYS,
    st.recursive(
        st.none(),
        lambda inner: st.one_of(
            st.dictionaries(KEYS, inner, min_size=1, max_size=3), st.lists(inner, min_size=1, max_size=3)
        ),
        max_leaves=10,
    ),
    min_size=1,
)


def json_text(shape, file, breaks, text):
    """A shape as JSON, which is YAML in flow style too."""
    text += " \n " if next(breaks) else ""
    if shape is None:
        return text + str(file * FILE_STEP + text.count("\n") + 1)
    is_dict = isinstance(shape, dict)
    text += "{" if is_dict else "["
    for i, item in enumerate(shape):
        text += ", " if i else ""
        text = (
            json_text(shape[item], file, breaks, f'{text}"{item}": ')
            if is_dict
            else json_text(item, file, breaks, text)
        )
    return text + ("}" if is_dict else "]")


def yaml_text(shape, file, text, indent=0):
    """A shape as YAML in block style."""
    if shape is None:
        return text + f" {file * FILE_STEP + text.count(chr(10)) + 1}\n"
    text += "\n"
    for item in shape:
        text += " " * indent + ("- # an item" if isinstance(shape, list) else f"{item}:")
        if isinstance(shape, list) and item is None:
            text = text.removesuffix(" # an item")
        text = yaml_text(shape[item] if isinstance(shape, dict) else item, file, text, indent + 2)
    return text


@PROFILE
@given(
    shapes=st.lists(DATA_SHAPES, min_size=2, max_size=3), breaks=BREAKS, style=st.sampled_from(["json", "yaml", "flow"])
)
def test_chains_of_data_files(folder, shapes, breaks, style):
    suffix = ".json" if style == "json" else ".yaml"
    names = [name.replace(".py", suffix) for name in fresh_names(len(shapes))]
    for i, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if style == "yaml":
            text = yaml_text(shape, i + 1, f"_base_: {names[i - 1]}" if i else "# the first")
        else:
            text = json_text(shape, i + 1, breaks, "")
            text = text.replace("{", f'{{"_base_": "{names[i - 1]}",', 1) if i else text
        (folder / name).write_text(text)
    try:
        cfg = Config.fromfile(folder / names[-1])
    except ConfigTypeError:
        assume(False)  # a dict here, a number there
    assert check_tree(cfg, names) > 0


# -- statements --------------------------------------------------------------------------------------------------------
# {x}, {y}, {z}: names; {k}, {j}: keys; {n}: the number of the line; {i}: a small index
STATEMENTS = """
{x} = {n}
{x} = dict({k}={n}, {j}=dict({k}={n}))
{x} = dict({k}={n}, {j}=[{n}, dict({k}={n})])
{x} = dict({k}={y}, {j}={z})
{x} = [dict({k}={n}), {y}, {n}]
{x} = [{n}, [{n}, {n}], ({n}, {y})]
{x} = {y}
{x} = {y}['{k}']
{x} = {y}[{i}]
{x} = {y}[{i}:]
{x} = {y}.{k}
{x} = [*{y}] + {z}
{x} = {y} + [dict({k}={n})]
{x} = [*{y}, {n}, *{z}]
{x} = {{**{y}, '{k}': {n}}}
{x} = dict(**{y}, {k}={n})
{x} = dict({y}, {k}={n})
{x} = {y} | dict({k}={n}, {j}=dict({k}={n}))
{x} = [*{y}] * 2
{x} = copy.deepcopy({y})
{x} = copy.copy({y})
{x} = {y}.copy()
{x} = list({y})
{x} = tuple({y})
{x} = {y}.get('{k}', {n})
{x} = {y}.pop('{k}')
{x} = {y}.pop({i})
{x} = {y}.setdefault('{k}', {n})
{x} = {y} if '{k}' in {z} else {n}
{x} = {y} or {z}
{x} = list({y}.values())
{x}, {y} = {y}, {x}
{x}, *{y} = {z}
{x} = {y} = dict({k}={n})
{x}['{k}'] = {n}
{x}['{k}'] = {y}
{x}['{k}']['{j}'] = {n}
{x}['{k}'] = dict({j}=dict({k}={n}), {k}={y})
{x}[{i}] = {n}
{x}[{i}]['{k}'] = {n}
{x}[{i}:] = [{n}, {y}]
{x}.{k} = {n}
{x}.{k}.{j} = {y}
{x}.update({k}={n})
{x}.update(dict({k}=dict({j}={n})))
{x}.update({k}={y})
{x}.update({y})
{x}.merge(dict({k}=dict(_delete_=True, {j}={n})))
{x}['{k}'].update({j}={n})
{x}.append({n})
{x}.append({y})
{x}.extend({y})
{x}.insert({i}, {n})
{x}.reverse()
{x} += [{n}]
{x} += list({y})
{x}['{k}'] += [{n}]
{x} |= dict({k}=dict({j}={n}))
del {x}['{k}']
del {x}[{i}]
del {x}
for {x} in {y}: {x}['{k}'] = {n}
for {x}, item in {y}.items(): {z}[{x}] = item
for i, item in enumerate({y}): {x}[i] = {n}
for i in range(3): {x}['k' + str(i)] = {n}
if len({y}) == 2: {x} = {n}
if not {y}: {x}['{k}'] = {n}
globals()['{x}'] = {n}
""".strip().split("\n")
START = "a, b = dict(a={n}, b=dict(c={n})), [dict(a={n}), {n}]\nc, d = dict(a=[{n}, {n}], model=dict(b={n})), {n}"


def pick_candidates(random):
    names, keys = ["a", "b", "c", "d"], ["a", "b", "c", "model"]
    return [
        (random.choice(STATEMENTS), *random.choices(names, k=3), *random.choices(keys, k=2), random.randint(-2, 2))
        for _ in range(40)
    ]


def program(candidates, head, namespace, file, prefix=""):
    """The candidates that can be run one after the other, as code. `prefix` is put before the names of values that are
    read or changed, at random by the last number.
    """
    code = head
    namespace["copy"] = copy
    lines = [(template, None) for template in START.split("\n") if file == 1]
    lines += [(template, rest) for template, *rest in candidates]
    for template, rest in lines:
        number = file * FILE_STEP + code.count("\n") + 1
        if rest is None:
            line = template.format(n=number)
        else:
            x, y, z, k, j, i = rest
            read = prefix if i < 0 else ""
            changed = read if not template.startswith(("{x} =", "{x},", "for", "global", "if len")) else ""
            line = template.format(n=number, x=changed + x, y=read + y, z=prefix + z if i == 1 else z, k=k, j=j, i=i)
        trial = copy.deepcopy({key: value for key, value in namespace.items() if key not in ("copy", "__builtins__")})
        trial["copy"] = copy
        try:
            exec(line, trial)
            size = sum(1 for _ in numbers({k: v for k, v in trial.items() if k not in ("copy", "__builtins__")}, ()))
        except Exception:  # noqa: BLE001 - whatever it is, the statement does not fit here
            continue
        if size < 2_000:
            namespace.clear()
            namespace.update(trial)
            code += line + "\n"
    return code


def read_statements(folder, seed, is_import):
    """Check a base and a child made of random statements; gives how many leaves there were."""
    random = Random(seed)
    names = fresh_names(2)
    (folder / names[0]).write_text(program(pick_candidates(random), "import copy\n", {}, 1))
    base = Config.fromfile(folder / names[0])
    n_leaves = check_tree(base, names)
    if is_import:
        head = "import copy\nfrom trainwright.config import read_base\nwith read_base():\n"
        head += f"    from .{names[0][:-3]} import *\n"
        namespace, prefix = dict(dict.items(copy.deepcopy(base._cfg_dict))), ""
    else:
        head, prefix = f"import copy\n_base_ = '{names[0]}'\n", "_base_."
        namespace = {"_base_": copy.deepcopy(base._cfg_dict)}
    (folder / names[1]).write_text(program(pick_candidates(random), head, namespace, 2, prefix))
    try:
        child = Config.fromfile(folder / names[1])
    except ConfigError:  # a value that contains itself, or a dict over a number
        return n_leaves
    return n_leaves + check_tree(child, names)


@pytest.mark.parametrize("is_import", [False, True], ids=["text", "import"])
@pytest.mark.parametrize("block", range(4))
def test_statements(folder, block, is_import):
    seeds = range(50 * block, 50 * (block + 1))
    counts = [read_statements(folder, seed, is_import) for seed in seeds]
    assert sum(counts) > 500


def test_most_statements_take_part():
    code = "".join(program(pick_candidates(Random(seed)), "", {}, 1) for seed in range(50))
    assert code.count("\n") > 500
