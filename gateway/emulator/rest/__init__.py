"""Alpaca's REST routes: trading, market data, and the emulator's own control routes."""
