"""Networks that learnt nothing, which groups are held against."""
