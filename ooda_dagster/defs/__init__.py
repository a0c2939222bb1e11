"""Thin Dagster: assets, checks, schedules, sensors over the loop. No rule about databases or latency in here.

Imports nothing: Dagster's webserver and daemon load `storage` alone.
"""
