"""The configuration's classes, one file a part; `models.config` gathers them. Loads no TensorFlow."""
