"""Networks that learnt nothing, something else, or what was planted."""
