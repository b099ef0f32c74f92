"""Runs Beam pipelines locally or on Dataflow, Flink and Spark."""
