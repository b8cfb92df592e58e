ok = 1


def half(n):
    return n / 0


value = half(1)
