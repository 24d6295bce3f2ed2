"""What `wmrobot bench` times, and how."""
