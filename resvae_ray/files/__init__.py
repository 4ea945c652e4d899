"""Files and folders: local, mounted or in a bucket; written so that nobody sees half of one."""
