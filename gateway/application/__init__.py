"""DECIDE: commands, anything that can cost money; and the truth about orders."""
