"""Files and folders: local, mounted or in a bucket; written atomically."""
