"""Measurements beside a peer, as ratios; run by hand, they assert no time."""
