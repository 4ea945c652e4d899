"""Search configurations that are shipped with the package, one TOML file each."""
