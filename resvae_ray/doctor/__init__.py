"""Checks each machine of a Ray cluster for problems that would stop a search or an encoding."""
