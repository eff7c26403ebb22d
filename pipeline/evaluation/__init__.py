"""What a model is worth: its answers on labelled rows, metrics per task and slice, and the gate's verdict."""
