"""What detectron2.utils has of events and ranks."""
