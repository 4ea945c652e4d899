"""What would keep a search or an encoding from running on a Ray cluster: each machine is examined, then judged."""
