"""An episode for people: driven at its true rate, filmed, and the tour made of such."""
