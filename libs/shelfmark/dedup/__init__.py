"""Near duplicates: kernel -> candidates -> groups (components) -> conflicts -> survivors -> golden records (merging)."""
