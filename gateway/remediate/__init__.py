"""What to do: typed actions, their risk, approval, execution and verification."""
