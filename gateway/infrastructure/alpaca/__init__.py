"""The one place that imports alpaca: the four repositories, spoken in Alpaca's wire.

Adapters report facts and raise; they never retry, judge or cache. Importing this package costs nothing:
alpaca itself (1.2 s and 99 MB cold) is imported by `ClientFactory` when the first client is made.
"""
