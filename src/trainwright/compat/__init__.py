"""The faces of other engines: their module trees, on Trainwright's core."""
