"""Peers' models and ours with the same weights: must they not say the same? See `benchmarks.peer_parity`."""
