"""Plain text for people: names that look alike, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SHARE_OF_BEST = 0.9
_PART = 0.6  # how much a part of a long name is like the whole


def near_names(name: object, candidates: Iterable[str], n: int = 3, cutoff: float = _PART) -> list[str]:
    """Up to `n` candidates that look like `name`, best first; case and underscores count for little.

    One that looks much less like it than the best does is left out: it would only distract.
    """
    from difflib import SequenceMatcher

    wanted = _plain(str(name))
    scored: list[tuple[float, str]] = []
    matcher = SequenceMatcher()
    matcher.set_seq2(wanted)
    for candidate in dict.fromkeys(candidates):
        plain = _plain(candidate)
        if plain == wanted:
            scored.append((1.0, candidate))
            continue
        matcher.set_seq1(plain)
        if matcher.real_quick_ratio() >= cutoff and matcher.quick_ratio() >= cutoff:
            score = matcher.ratio()
            if score >= cutoff:
                scored.append((score, candidate))
        elif cutoff <= _PART and len(wanted) > 3 and wanted in plain:
            scored.append((_PART, candidate))
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    return [candidate for score, candidate in scored[:n] if score >= _SHARE_OF_BEST * scored[0][0]]


def did_you_mean(name: object, candidates: Iterable[str]) -> str:
    """`""`, `" Did you mean 'x'?"` or `" Did you mean 'x', 'y' or 'z'?"`: to be appended to a sentence."""
    return any_of(near_names(name, (c for c in candidates if isinstance(c, str))))


def any_of(names: Sequence[str]) -> str:
    """The sentence of `did_you_mean` for names that are chosen already."""
    if not names:
        return ""
    quoted = [repr(name) for name in names]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return f" Did you mean {listed}?"


def brief(value: object, limit: int = 100) -> str:
    """`repr(value)`, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Left-aligned columns two spaces apart, with a rule below the header. No trailing newline."""
    cells = [[str(cell) for cell in row] for row in rows]
    grid = [list(header), *cells] if header else cells
    if not grid:
        return ""
    n_columns = max(len(row) for row in grid)
    widths = [max((len(row[i]) for row in grid if i < len(row)), default=0) for i in range(n_columns)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in grid]
    if header:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
