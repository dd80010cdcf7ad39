"""Settings, tasks, artifacts and the command line: where names become objects."""
