"""From observation to action, closed loop."""
