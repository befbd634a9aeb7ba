"""Which steps are looked at, counted how, and at what cost."""
