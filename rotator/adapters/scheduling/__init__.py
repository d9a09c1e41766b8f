"""The metronome: says when to look; owns no state."""
