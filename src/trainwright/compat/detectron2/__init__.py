"""detectron2's engine under its own module names."""
