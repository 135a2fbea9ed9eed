"""What is done with an isolate: judged, typed, minted, reported."""
