"""Tests of the emulator, and the host that runs emulators for everybody else's tests."""
