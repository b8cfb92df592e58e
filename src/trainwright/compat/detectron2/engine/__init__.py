"""What detectron2.engine exports of its trainers and hooks."""
