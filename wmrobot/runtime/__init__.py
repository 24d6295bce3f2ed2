"""What a robot carries. Imports nothing of wmrobot, and no torch."""
