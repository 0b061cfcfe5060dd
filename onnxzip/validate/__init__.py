"""Is the candidate still the original? Inputs to ask with, figures, a verdict, and a paired stopwatch."""
