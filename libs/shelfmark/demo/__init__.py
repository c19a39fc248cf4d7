"""The demo catalogue: invented feeds of four vendors with everything that is true about them beside."""

from shelfmark.demo.generate import generate

__all__ = ["generate"]
