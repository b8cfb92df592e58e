ok = 1
depth = {{ _base_.model }}
