"""docs/tables.md from the table contracts: `python -m shelfmark.docs docs/tables.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from shelfmark.tables import TABLES

HEAD = """# Tables

Made from the contracts in `libs/shelfmark/tables.py` by `make docs`; a test fails when it is stale. The Delta columns carry
the same comments, and `shelfmark tables NAME` prints the same on the command line.

Zones: **bronze** is what vendors sent, as read; **silver** is cleaned, checked and joined up; **gold** is what is decided and
measured. A table with several writers is one Delta table per writing job, read as one.
"""


def tables_page() -> str:
    """The Markdown page of all tables."""
    parts = [HEAD, "| table | one row is | owner |", "| --- | --- | --- |"]
    for contract in TABLES.values():
        anchor = contract.name.replace(".", "")
        parts.append(f"| [{contract.name}](#{anchor}) | {contract.grain} | {contract.owner} |")
    for contract in TABLES.values():
        parts += ["", f"## {contract.name}", "", f"One row is {contract.grain}.", ""]
        parts.append(f"Keys: {', '.join(f'`{key}`' for key in contract.keys)}. ")
        parts[-1] += f"Partitions: {', '.join(f'`{key}`' for key in contract.partitions) or 'none'}. "
        parts[-1] += f"Owner: {contract.owner}. Contract version {contract.version}."
        parts += ["", "| column | type | null | meaning |", "| --- | --- | --- | --- |"]
        for field in contract.fields:
            null = "yes" if field.nullable else "no"
            parts.append(f"| `{field.name}` | `{field.type}` | {null} | {field.comment} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(tables_page())
