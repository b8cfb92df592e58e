"""A folder for PYTHONPATH: a Python that is started with it puts on the faces that TRAINWRIGHT_FACES names."""
