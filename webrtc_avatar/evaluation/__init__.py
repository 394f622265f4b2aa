"""Tells how good an avatar is: what it was made to do, measured on what it was not made from."""
