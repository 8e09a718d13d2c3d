"""What AdaptiveStep is set against in the last chapter: one module for each contest, without models and runs."""
