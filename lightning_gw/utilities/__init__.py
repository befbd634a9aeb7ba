"""What every room uses and none owns: errors, files, JSON values, processes, random states, words."""
