"""The shadow of a data file: where YAML and JSON wrote each value."""

from __future__ import annotations

import json
import re
from typing import Any

from trainwright.config.origins.expressions import base_value
from trainwright.config.origins.lines import UNKNOWN, DictLines, Leaf, Lines, ListLines, Origin, constant_of
from trainwright.config.reading.document import BASE_KEY
from trainwright.config.reading.substitute import MARKER

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+|\n', re.DOTALL)
_MERGE_TAG = "tag:yaml.org,2002:merge"
_PAIR_TAGS = frozenset({"tag:yaml.org,2002:pairs", "tag:yaml.org,2002:omap"})


class Markers:
    """Puts the values of the base in place of the markers for `{{ _base_.key }}`."""

    def __init__(self, base: DictLines, base_keys: list[str]) -> None:
        self._base = base
        self._base_keys = base_keys

    def fill(self, leaf: Leaf) -> Lines:
        """The value of the base for a marker, nothing certain for a text that holds one, or the leaf itself."""
        text = leaf.constant
        if not self._base_keys or not isinstance(text, str):
            return leaf
        match = MARKER.fullmatch(text)
        if match is not None and int(match[1]) < len(self._base_keys):
            return base_value(self._base, self._base_keys[int(match[1])]) or Leaf(leaf.origin)
        return Leaf(leaf.origin) if MARKER.search(text) else leaf


def data_lines(code: str, path: str, markers: Markers) -> DictLines:
    """The keys of a data file, without its `_base_`."""
    root = _Json(code, path, markers).root() if path.endswith(".json") else _yaml_root(code, path, markers)
    if not isinstance(root, DictLines):
        return DictLines(Origin(path, 1))
    root.items.pop(BASE_KEY, None)
    return root


class _Json:
    """A JSON text, token by token. It has been read before, so nothing is checked."""

    def __init__(self, code: str, path: str, markers: Markers) -> None:
        self._tokens = _JSON_TOKEN.finditer(code)
        self._path = path
        self._markers = markers
        self._line = 1

    def root(self) -> Lines:
        return self._value(self._next())

    def _next(self) -> str:
        for match in self._tokens:
            token = match[0]
            if token != "\n":
                return token
            self._line += 1
        raise ValueError("unexpected end of JSON")

    def _value(self, token: str) -> Lines:
        origin = Origin(self._path, self._line)
        if token == "{":
            return self._object(DictLines(origin))
        if token == "[":
            return self._array(ListLines(origin))
        return self._markers.fill(Leaf(origin, json.loads(token)))

    def _object(self, node: DictLines) -> DictLines:
        while (token := self._next()) != "}":
            if token == ",":
                continue
            key = constant_of(self._value(token))
            self._next()  # the colon
            value = self._value(self._next())
            if key is not UNKNOWN:
                node.items[key] = value  # a key that is written again replaces
        return node

    def _array(self, node: ListLines) -> ListLines:
        while (token := self._next()) != "]":
            if token != ",":
                node.items.append(self._value(token))
        return node


def _yaml_root(code: str, path: str, markers: Markers) -> Lines | None:
    import yaml

    from trainwright.config.yaml_tags import TUPLE_TAG

    # The loader in C is the faster one. It is no danger here: a file that nests too deep for it was refused before.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(code)
    try:
        node = loader.get_single_node()
        return None if node is None else _Yaml(loader, path, markers, TUPLE_TAG).value(node)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    finally:
        loader.dispose()


class _Yaml:
    """Composed YAML nodes. An alias gives the value of its anchor, as it is written there."""

    def __init__(self, loader: Any, path: str, markers: Markers, tuple_tag: str) -> None:
        self._loader = loader
        self._tuple_tag = tuple_tag
        self._path = path
        self._markers = markers
        self._known: dict[int, Lines] = {}  # by the id of a node; the nodes live as long as their root

    def value(self, node: Any, key_line: int | None = None) -> Lines:
        """The shadow of a node. One in block style begins where its key stands."""
        known = self._known.get(id(node))
        if known is not None:
            return known
        in_block = key_line is not None and node.id != "scalar" and not node.flow_style
        origin = Origin(self._path, key_line if in_block else node.start_mark.line + 1)
        if node.id == "mapping":
            return self._mapping(node, DictLines(origin))
        if node.id == "sequence":
            result = self._known[id(node)] = ListLines(origin, is_tuple=node.tag == self._tuple_tag)
            convert = self._pair if node.tag in _PAIR_TAGS else self.value
            result.items.extend(convert(item) for item in node.value)
            return result
        leaf = self._markers.fill(Leaf(origin, self._loader.construct_object(node)))
        self._known[id(node)] = leaf
        return leaf

    def _pair(self, node: Any) -> Lines:
        """An item of `!!pairs` or `!!omap`: a mapping of one key is read as a tuple."""
        key, value = node.value[0]
        items = [self.value(key), self.value(value)]
        return ListLines(items[0].origin, items, is_tuple=True)

    def _mapping(self, node: Any, result: DictLines) -> DictLines:
        self._known[id(node)] = result
        for key, value in node.value:
            if key.tag == _MERGE_TAG:
                sources = value.value[::-1] if value.id == "sequence" else [value]  # the first of a list wins
                for merged in map(self.value, sources):
                    result.items.update(merged.items if isinstance(merged, DictLines) else {})
        for key, value in node.value:
            name = UNKNOWN if key.tag == _MERGE_TAG else constant_of(self.value(key))
            if name is not UNKNOWN:
                result.items[name] = self.value(value, key.start_mark.line + 1)
        return result
