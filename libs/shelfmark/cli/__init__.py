"""The command `shelfmark`: platform teams schedule it, analysts query with it, stewards look things up with it."""

from __future__ import annotations

import logging
import sys

import typer
from rich.console import Console

from shelfmark.cli import analysts, decisions, dedupe, explain, lake, models, platform, review, stewards  # noqa: F401 (each adds its commands)
from shelfmark.cli.app import app
from shelfmark.errors import ShelfmarkError

errors = Console(stderr=True)


def main() -> None:
    """Entry point: errors a person can act on are one line, with the exit code of their kind."""
    logging.getLogger("py4j").setLevel(logging.ERROR)
    try:
        app(standalone_mode=False)
    except ShelfmarkError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: wrong usage
            errors.print(f"error: {error.format_message()}; see --help", style="red", highlight=False, markup=False)
            sys.exit(2)
        if error.__class__.__name__ == "Abort":
            errors.print("stopped")
            sys.exit(130)
        raise
