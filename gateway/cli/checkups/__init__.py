"""What `sentinel doctor` looks at: this machine (`here`) and what is reached over a wire (`around`)."""
