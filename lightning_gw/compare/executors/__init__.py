"""Where the runs of a comparison are done: as processes on this machine, or as tasks on a Ray cluster.

Either way a run is one command, `base.Order`, carried out by `process` and locked by `locks`.
"""
