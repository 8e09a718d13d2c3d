"""Process reward models: training, scoring, published ones, guides."""
