"""The code-first trainer: a loop with hooks around a step of your own, in the terms of detectron2's engine."""
