"""From readings to commands before they are due, and what is kept of it."""
