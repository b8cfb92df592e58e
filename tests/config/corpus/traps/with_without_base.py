from contextlib import suppress

size = 1
with suppress(ZeroDivisionError):
    size = 1 / 0
del suppress
