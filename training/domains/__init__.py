"""What generation knows about each environment, one module each; see `training.domain`."""
