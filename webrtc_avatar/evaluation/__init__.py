"""How good it is: measured the way it is used, on what nothing was trained on."""
