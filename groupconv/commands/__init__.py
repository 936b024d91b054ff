"""What the subcommands of ``groupconv`` do; each module adds its arguments and runs them."""
