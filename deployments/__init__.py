"""Where and when flows run: the command line, the stack, registration, triggers."""
