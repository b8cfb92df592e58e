"""What a config that is not trusted may hold (in trusted_cases.txt), and what would take too much in it."""

from __future__ import annotations

from pathlib import Path

_SECTIONS = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split("\n=== ")[1:]


def _sections(kind: str) -> dict[str, tuple[str, str]]:
    """Name -> (what stands before the name, text)."""
    found = {}
    for section in _SECTIONS:
        head, _, text = section.partition("\n")
        first, *between, name = head.split(" ")
        if first == kind:
            found[name] = (" ".join(between), f"{text}\n" if text else "")
    return found


# Each is read with trusted=False to the same tree as with trusted=True.
ACCEPTED = {name: text for name, (_, text) in _sections("accepted").items()}
# (line, text): what would have to be run.
REFUSED = {name: (int(line), text) for name, (line, text) in _sections("refused").items()}

# What would take too much memory or time.
_DOUBLED = "".join(f"a{i} = dict(x=a{i - 1}, y=a{i - 1})\n" for i in range(1, 60))
BOMBS = {
    "power": "a = 10 ** 10 ** 8\n",
    "power_of_power": "a = 9 ** 9 ** 9\n",
    "shift": "a = 1 << 10 ** 9\n",
    "literal_shift": "a = 1 << 1000000000\n",
    "text": "a = 'a' * 10 ** 9\n",
    "literal_text": "a = 'a' * 1000000000\n",
    "text_swapped": "a = 1000000000 * 'a'\n",
    "text_twice": "a = 'a' * 100000 * 100000\n",
    "bytes": "a = b'a' * 1000000000\n",
    "list": "a = [0] * 1000000000\n",
    "tuple": "a = (0, ) * 1000000000\n",
    "augmented": "a = [0] * 1000\na *= 10000000\n",
    "lists_of_lists": "a = [0] * 1000\nb = [a] * 1000\nc = [b] * 1000\n",
    "nested_in_place": "k = 1000\na = [[[[0] * k] * k] * k] * k\n",
    "doubled_dicts": "a0 = dict(x=1)\n" + _DOUBLED,
    "doubled_lists": "a = [1]\n" + "a = [a, a]\n" * 60,
    "starred": "a = [1, 1]\n" + "a = [*a, *a]\n" * 25,
    "starred_tuple": "a = (1, 1)\n" + "a = (*a, *a)\n" * 25,
    "added": "a = [1]\n" + "a = a + a\n" * 60,
    "added_in_place": "a = [1]\n" + "a += a\n" * 60,
    "added_text": "a = 'ab'\n" + "a = a + a\n" * 60,
    "squared": "a = 99999999999999999999\n" + "a = a * a\n" * 60,
    "digits": "a = int('" + "9" * 100_000 + "')\n",
    "range": "a = list(range(1000000000))\n",
    "bytes_call": "a = bytes(1000000000)\n",
    "tuple_keys": "a = (1, 1)\n" + "a = (a, a)\n" * 25 + "b = {a: 1}\n",
    "self_in_self": "a = [1]\na[0] = a\n",
    "dict_in_itself": "a = dict(b=dict())\na['b']['c'] = a\n",
    "deep_literal": "a = " + "[" * 150 + "]" * 150 + "\n" + "".join("a = [a]\n" for _ in range(5000)),
    "long_sum": "a = " + " + ".join(["1"] * 50_000) + "\n",
    "long_attribute": "_base_ = './base.py'\na = _base_" + ".x" * 50_000 + "\n",
}
