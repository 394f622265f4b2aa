"""What makes and trains an avatar: speech, labels, the ear and the mouth. Nothing here runs in the server."""
