"""Late-fusion models over title, description, picture and tabular fields: the one part of the house that uses torch."""
