"""What can be observed and done on a database: small protocols in `base`, one folder for each kind of server."""
