"""Recordings of any length, streams and queues, over a runtime that hears thirty seconds at a time."""
