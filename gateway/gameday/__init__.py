"""Game day: faults whose cause and right answer are known beforehand, and what was made of them."""
