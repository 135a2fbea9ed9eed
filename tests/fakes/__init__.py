"""Stand-ins for what a lab has: records of a plausible beamtime, and recorded programs."""
