# nothing here

"""A docstring is an expression, no setting."""
# {{ fileBasename }}
