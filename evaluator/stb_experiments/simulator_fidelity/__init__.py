"""How true a simulator is to the APIs that it plays, measured on recorded calls and their real answers."""
