"""The page of one series: one HTML file that asks no network for anything, whatever kind of model it is about."""
