"""Paths into the JSON a vendor field holds: `[0]`, `[].name`, `offers.price`, `[name=Gtin].value`."""

from __future__ import annotations

import re
from typing import Any

Step = tuple[str, ...]

_STEP = re.compile(
    r"""\.?(?:(?P<key>[^.\[\]=]+)|\[(?P<index>-?\d+)\]|(?P<every>\[\])|\[(?P<name>[^=\]]+)=(?P<value>[^\]]*)\])"""
)


def parse_path(path: str) -> list[Step]:
    """Steps of a path: `key` of an object, `[0]` of a list, `[]` every element, `[key=value]` elements that match.

    Raises `ValueError` with what is wrong.
    """
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise ValueError(f"not a JSON path at {path[at:]!r}; write e.g. [0], [].name, a.b, [name=Gtin].value")
        if match["key"] is not None:
            steps.append(("key", match["key"].strip()))
        elif match["index"] is not None:
            steps.append(("index", match["index"]))
        elif match["every"] is not None:
            steps.append(("every",))
        else:
            steps.append(("where", match["name"].strip(), match["value"].strip()))
        at = match.end()
    if not steps:
        raise ValueError("an empty JSON path; write e.g. [0] or [].name")
    return steps


def follow(value: Any, steps: list[Step]) -> list[Any]:
    """All values the path reaches, in their order; none where it leads nowhere."""
    reached = [value]
    for step in steps:
        kind = step[0]
        following: list[Any] = []
        for node in reached:
            if kind == "key":
                if isinstance(node, dict) and step[1] in node:
                    following.append(node[step[1]])
            elif isinstance(node, list):
                if kind == "every":
                    following.extend(node)
                elif kind == "index":
                    index = int(step[1])
                    if -len(node) <= index < len(node):
                        following.append(node[index])
                else:
                    following.extend(item for item in node if isinstance(item, dict) and item.get(step[1]) == step[2])
        reached = following
    return [value for value in reached if value is not None]
