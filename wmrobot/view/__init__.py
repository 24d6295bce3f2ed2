"""A window in the browser onto a running controller, in a process of its own."""
