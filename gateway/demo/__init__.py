"""`sentinel demo`: real services, honest load, a real fault, and the story of its incident."""
