"""What text goes through before a voice says it: sentences, SSML, numbers and abbreviations as words."""
