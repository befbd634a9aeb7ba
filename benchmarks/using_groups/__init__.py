"""What acting on groups gains over acting on as many layers chosen otherwise: a study over networks and seeds."""
