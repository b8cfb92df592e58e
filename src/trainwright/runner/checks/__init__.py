"""What can be known to be wrong with a run before anything is built; one file a subject, `runner.check` runs them."""
