"""What a profile would cost, before it is run."""
