"""One file per outside thing; the only place that imports a vendor's SDK or runs its command line."""
