a = 1
b = 2  # form feed
